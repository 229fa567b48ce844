-- What may each database role do, who keeps the log short, and how does a follower say where it is?

-- A follower's own word on how far it is (coherence 3.7, G4). Empty after a crash, by design.
create unlogged table grantgate.follower (
  id          text collate "C" not null,
  login       name not null,
  cursor      bigint not null,
  lease_until timestamptz not null,
  constraint follower_pkey primary key (id),
  constraint follower_id check (octet_length(id) between 1 and 255 and id !~ '[\u0001-\u001f\u007f-\u009f]')
);

-- Its own row: another login's row is refused. `lease_ms`: how long from now the follower may still answer without another pull.
create function grantgate.report(follower text, at_version bigint, lease_ms integer) returns void language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
begin
  if lease_ms is null or lease_ms not between 0 and 3600000 then
    raise exception 'lease_ms: expected 0 to 3,600,000, got %', lease_ms using errcode = '22023';
  end if;
  insert into grantgate.follower as f (id, login, cursor, lease_until)
    values (follower, session_user, at_version, clock_timestamp() + lease_ms * interval '1 ms')
    on conflict (id) do update set cursor = excluded.cursor, lease_until = excluded.lease_until where f.login = session_user;
  if not found then
    raise exception 'follower "%" belongs to another login', follower using errcode = '42501';
  end if;
  delete from grantgate.follower f where f.lease_until < clock_timestamp() - interval '1 day';
end $$;

-- Takes the oldest versions away: a prefix by version, never by time row by row (clocks differ after a fail-over), never
-- anything younger than an hour, never the newest row. Returns how many. 0 if somebody else is at it.
create function grantgate.trim(keep interval default interval '24 hours') returns bigint language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  first_kept bigint;
  gone bigint := 0;
begin
  if not pg_try_advisory_lock(hashtextextended('grantgate.trim', 0)) then
    return 0;
  end if;
  begin
    select coalesce(
      (select c.version from grantgate.change c
       where c.at >= clock_timestamp() - greatest(coalesce(keep, interval '24 hours'), interval '1 hour') order by c.version limit 1),
      (select max(c.version) from grantgate.change c)) into first_kept;
    with old_change as (delete from grantgate.change c where c.version < first_kept returning c.n),
         old_touched as (delete from grantgate.touched t using old_change c where t.n = c.n)
      select count(*) into gone from old_change;
  exception when others then
    perform pg_advisory_unlock(hashtextextended('grantgate.trim', 0));
    raise;
  end;
  perform pg_advisory_unlock(hashtextextended('grantgate.trim', 0));
  return gone;
end $$;

-- TRUNCATE fires no trigger that could log it.
create function grantgate.refuse_truncate() returns trigger language plpgsql as $$
begin
  raise exception 'grantgate.% cannot be truncated', tg_table_name
    using errcode = '0A000', hint = 'use delete: only that reaches the change log';
end $$;

do $$
declare
  t record;
begin
  for t in select c.oid::regclass as name from pg_class c
      where c.relnamespace = 'grantgate'::regnamespace and c.relkind = 'r' order by c.relname collate "C" loop
    execute format('create trigger refuse_truncate before truncate on %s for each statement execute function grantgate.refuse_truncate()', t.name);
  end loop;
  for t in select g.tgname, g.tgrelid::regclass as name from pg_trigger g join pg_class c on c.oid = g.tgrelid
      where c.relnamespace = 'grantgate'::regnamespace and not g.tgisinternal loop
    execute format('alter table %s enable always trigger %I', t.name, t.tgname);
  end loop;
end $$;

-- Names the triggers that the log and the model rest on and that are missing or not `enable always`; a follower that finds any
-- is not ready (coherence 2.5).
create function grantgate.broken_triggers() returns text[] language sql stable
  set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(e.rel || '.' || e.name order by e.rel, e.name), '{}')
  from (values
    ('object', 'A_leave_groups'), ('object', 'A_take_predefined'), ('object', 'object_fixed'), ('object', 'second_row'),
    ('object', 'guard_tree_insert'), ('object', 'guard_tree_update'),
    ('object', 'log_insert'), ('object', 'log_update'), ('object', 'log_delete'),
    ('user_account', 'log_update'), ('user_account', 'take_object'), ('customer', 'take_object'),
    ('role', 'log_update'), ('role', 'take_object'),
    ('membership', 'log_insert'), ('membership', 'log_update'), ('membership', 'log_delete'),
    ('group_permission', 'log_insert'), ('group_permission', 'log_update'), ('group_permission', 'log_delete'),
    ('group_permission', 'take_object'), ('group_permission', 'A_follow_user_group'),
    ('user_account', 'second_row_fixed'), ('customer', 'second_row_fixed'), ('role', 'second_row_fixed'), ('group_permission', 'second_row_fixed'),
    ('touched', 'seal'),
    ('object', 'refuse_truncate'), ('user_account', 'refuse_truncate'), ('customer', 'refuse_truncate'), ('role', 'refuse_truncate'),
    ('membership', 'refuse_truncate'), ('group_permission', 'refuse_truncate'), ('touched', 'refuse_truncate'),
    ('change', 'refuse_truncate'), ('latch', 'refuse_truncate'), ('tenant_tree', 'refuse_truncate')) e (rel, name)
  where not exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('grantgate.' || e.rel) and t.tgname = e.name and t.tgenabled = 'A')
$$;

-- Rights of grantgate_reader and grantgate_writer, for whichever of them exist. `migrate` calls it every time, so roles that
-- are made later get theirs by running it again.
create function grantgate.grant_roles() returns void language plpgsql as $$
begin
  revoke all on all functions in schema grantgate from public;
  if to_regrole('grantgate_reader') is not null then
    grant usage on schema grantgate to grantgate_reader;
    -- names and addresses of users are not a sidecar's business
    grant select on grantgate.object, grantgate.customer, grantgate.role, grantgate.membership, grantgate.group_permission,
      grantgate.change, grantgate.touched, grantgate.follower, grantgate.migration to grantgate_reader;
    grant select (id, tenant, kind, enabled) on grantgate.user_account to grantgate_reader;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, integer),
      grantgate.broken_triggers() to grantgate_reader;
  end if;
  if to_regrole('grantgate_writer') is not null then
    grant usage on schema grantgate to grantgate_writer;
    grant select, insert, update, delete on grantgate.object, grantgate.user_account, grantgate.customer, grantgate.role,
      grantgate.membership, grantgate.group_permission to grantgate_writer;
    grant select on grantgate.change, grantgate.touched, grantgate.follower, grantgate.migration to grantgate_writer;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, integer),
      grantgate.broken_triggers(), grantgate.touch(text, text[]) to grantgate_writer;
  end if;
end $$;
revoke all on all functions in schema grantgate from public;
