-- How far is each follower, and how does somebody wait until all of them are past a revision? (coherence 3.7, G4)
--
-- A follower reports on its listening session, right before a pull: where it is, and how long from then on it may answer without
-- a later report. So a follower that is not in the table, or whose lease has run out, answers nothing that is older than
-- whatever is committed now: a barrier need not wait for it, nor know why it is silent.

drop function grantgate.report(text, bigint, integer);
drop table grantgate.follower;

-- Unlogged: a report is of the moment, and costs no flush. Empty after a crash and on a promoted standby: see `fleet`.
create unlogged table grantgate.follower (
  id          text collate "C" not null,
  login       name not null,
  version     bigint,                                  -- null: it answers nothing yet, or from a history that is not this server's
  change_id   uuid,
  at          timestamptz not null,
  lease_until timestamptz not null,
  constraint follower_pkey primary key (id),
  constraint follower_id check (octet_length(id) between 1 and 255 and id !~ '[\u0001-\u001f\u007f-\u009f]')
) with (fillfactor = 50);

-- One row: since when every report has been kept. No row: the reports were lost in a crash or a promotion, while followers that are cut
-- off may still hold leases; the next barrier makes the row, and until then + the longest lease waits for those too.
create unlogged table grantgate.fleet (
  one           boolean not null default true,
  since         timestamptz not null,
  awaited       bigint not null default 0,             -- the highest version that a barrier waits for, until then
  awaited_until timestamptz not null default '-infinity',
  constraint fleet_pkey primary key (one),
  constraint fleet_one check (one)
) with (fillfactor = 50);

-- One row, logged: the longest lease that a follower ever asked for. It begins as what a default follower asks for.
create table grantgate.lease (
  one        boolean not null default true,
  longest_ms integer not null,
  constraint lease_pkey primary key (one),
  constraint lease_one check (one)
);
insert into grantgate.lease (longest_ms) values (3000);
insert into grantgate.fleet (since) values (clock_timestamp());

-- Its own row: another login's row is refused while it is kept (below). `lease_ms`: how long from now the follower may answer without another report.
-- A revision that is not in this server's log says nothing to whoever waits here. Returns how full the notification queue is (0 to 1).
create function grantgate.report(follower text, at_version bigint, at_id text, lease_ms integer) returns double precision language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  known record;
begin
  if lease_ms is null or lease_ms not between 0 and 7200000 then
    raise exception 'lease_ms: expected 0 to 7,200,000, got %', lease_ms using errcode = '22023';
  end if;
  select c.version, c.id into known from grantgate.change c where c.version = at_version and c.id::text = at_id;
  insert into grantgate.follower as f (id, login, version, change_id, at, lease_until)
    values (follower, session_user, known.version, known.id, clock_timestamp(), clock_timestamp() + lease_ms * interval '1 ms')
    on conflict (id) do update
      set login = excluded.login, version = excluded.version, change_id = excluded.change_id, at = excluded.at, lease_until = excluded.lease_until
      where f.login = session_user or f.lease_until < clock_timestamp() - interval '1 minute';
  if not found then
    raise exception 'follower "%" belongs to another login', follower using errcode = '42501';
  end if;
  if lease_ms > (select l.longest_ms from grantgate.lease l) then
    update grantgate.lease l set longest_ms = lease_ms where l.longest_ms < lease_ms;
  end if;
  -- Kept for a while after its lease, so that a barrier can say of whom nothing was heard. Asked first, because the join reads every
  -- version of every row by its index: [measured] 51 ms for each report, where a transaction had been open for an hour beside 50 followers.
  if exists (select from grantgate.follower g where g.lease_until < clock_timestamp() - interval '1 minute') then
    delete from grantgate.follower f using (
      select g.id from grantgate.follower g where g.lease_until < clock_timestamp() - interval '1 minute' for update skip locked) gone
      where f.id = gone.id;
  end if;
  return pg_notification_queue_usage();
end $$;

-- Where everybody is with regard to a revision. Whoever calls it again and again until nobody is behind with a lease that runs, and
-- `lost_ms` is 0, has a barrier. It asks followers that are behind to report at once. `known` false: the log has no such revision.
-- (A small table is read whole: by its index every dead version of a row would be read beside a transaction that stays open.)
create function grantgate.barrier(at_version bigint, at_id text) returns json language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp set enable_seqscan = on as $$
begin
  -- First: a report that a later snapshot does not see belongs to a pull that sees this revision.
  if not exists (select from grantgate.change c where c.version = at_version and c.id::text = at_id) then
    return json_build_object('known', false, 'head', grantgate.revision());
  end if;
  if not exists (select from grantgate.fleet) then
    insert into grantgate.fleet (since) values (clock_timestamp()) on conflict do nothing;
  end if;
  if exists (select from grantgate.follower f where f.lease_until > clock_timestamp() and (f.version is null or f.version < at_version)) then
    -- Whoever has it is not waited for, here and above: a session that looked within a transaction that it left open would hold up every barrier.
    update grantgate.fleet s
      set awaited = case when s.awaited_until > clock_timestamp() then greatest(s.awaited, at_version) else at_version end,
          awaited_until = clock_timestamp() + interval '10 seconds'
      from (select l.one from grantgate.fleet l
        where l.awaited < at_version or l.awaited_until < clock_timestamp() + interval '5 seconds' for update skip locked) free
      where s.one = free.one;
    if found then
      perform pg_notify('grantgate', '');
    end if;
  end if;
  return (
    select json_build_object(
      'known', true,
      'lost_ms', (select greatest(0, ceil(extract(epoch from s.since - clock_timestamp()) * 1000 + l.longest_ms))::bigint
                    from grantgate.fleet s, grantgate.lease l),
      'replicas', coalesce(json_agg(json_build_object(
        'id', f.id, 'login', f.login, 'version', f.version, 'change_id', f.change_id,
        'age_ms', round(extract(epoch from clock_timestamp() - f.at) * 1000)::bigint,
        'lease_ms', ceil(extract(epoch from f.lease_until - clock_timestamp()) * 1000)::bigint) order by f.id), '[]'))
    from grantgate.follower f);
end $$;

create trigger refuse_truncate before truncate on grantgate.follower for each statement execute function grantgate.refuse_truncate();
create trigger refuse_truncate before truncate on grantgate.fleet for each statement execute function grantgate.refuse_truncate();
create trigger refuse_truncate before truncate on grantgate.lease for each statement execute function grantgate.refuse_truncate();
alter table grantgate.follower enable always trigger refuse_truncate;
alter table grantgate.fleet enable always trigger refuse_truncate;
alter table grantgate.lease enable always trigger refuse_truncate;

-- As before, and the three tables of this file.
create or replace function grantgate.broken_triggers() returns text[] language sql stable
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
    ('change', 'refuse_truncate'), ('latch', 'refuse_truncate'), ('tenant_tree', 'refuse_truncate'),
    ('follower', 'refuse_truncate'), ('fleet', 'refuse_truncate'), ('lease', 'refuse_truncate')) e (rel, name)
  where not exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('grantgate.' || e.rel) and t.tgname = e.name and t.tgenabled = 'A')
$$;

-- As before, with the new signatures: dropping the table and the function took their rights along.
create or replace function grantgate.grant_roles() returns void language plpgsql as $$
begin
  revoke all on all functions in schema grantgate from public;
  if to_regrole('grantgate_reader') is not null then
    grant usage on schema grantgate to grantgate_reader;
    -- names and addresses of users are not a sidecar's business
    grant select on grantgate.object, grantgate.customer, grantgate.role, grantgate.membership, grantgate.group_permission,
      grantgate.change, grantgate.touched, grantgate.follower, grantgate.fleet, grantgate.lease, grantgate.migration to grantgate_reader;
    grant select (id, tenant, kind, enabled) on grantgate.user_account to grantgate_reader;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers() to grantgate_reader;
  end if;
  if to_regrole('grantgate_writer') is not null then
    grant usage on schema grantgate to grantgate_writer;
    grant select, insert, update, delete on grantgate.object, grantgate.user_account, grantgate.customer, grantgate.role,
      grantgate.membership, grantgate.group_permission to grantgate_writer;
    grant select on grantgate.change, grantgate.touched, grantgate.follower, grantgate.fleet, grantgate.lease, grantgate.migration to grantgate_writer;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers(), grantgate.touch(text, text[]) to grantgate_writer;
  end if;
end $$;
revoke all on all functions in schema grantgate from public;
