-- Which API keys are there, and how does their end reach every cache at once?

-- Of a key no more than its hash is kept: it is random, so nothing slower than SHA-256 is called for. The hash is what caches know it by;
-- the id is what people do.
create table grantgate.api_key (
  hash       text collate "C" not null,
  id         text collate "C" not null,
  tenant     text collate "C" not null,
  user_id    text collate "C" not null,
  kind       text collate "C" generated always as ('user') stored,
  name       text,
  created    timestamptz not null default clock_timestamp(),
  expires    timestamptz not null,
  created_by text collate "C" not null,   -- user id of whoever made it, kept after that user is gone
  constraint api_key_pkey primary key (hash),
  constraint api_key_id_key unique (id),
  constraint api_key_hash check (hash ~ '^[0-9a-f]{64}$'),
  constraint api_key_id_bytes check (octet_length(id) between 1 and 255),
  constraint api_key_name_length check (octet_length(name) <= 1000),
  constraint api_key_expires check (expires between '1970-01-01 00:00:00+00' and '9999-12-31 23:59:59+00'),
  constraint api_key_user_fkey foreign key (user_id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);
create index api_key_user_idx on grantgate.api_key (user_id);

-- As in 0002: what an entry of the cache holds is its user and its end. A new key is touched too, for caches may know that there was none.
create function grantgate.log_api_key() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  if tg_op = 'UPDATE' then
    select array_agg(x.hash) into k from (
      select distinct y.hash from (
        (select a.hash, a.user_id, a.expires from after_change a except select b.hash, b.user_id, b.expires from before_change b)
        union all
        (select b.hash, b.user_id, b.expires from before_change b except select a.hash, a.user_id, a.expires from after_change a)) y
      limit 100001) x;
  elsif tg_op = 'INSERT' then
    select array_agg(x.hash) into k from (select a.hash from after_change a limit 100001) x;
  else
    select array_agg(x.hash) into k from (select b.hash from before_change b limit 100001) x;
  end if;
  perform append_touched('k', k);
  return null;
end $$;
create trigger log_insert after insert on grantgate.api_key referencing new table as after_change
  for each statement execute function grantgate.log_api_key();
create trigger log_update after update on grantgate.api_key referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_api_key();
create trigger log_delete after delete on grantgate.api_key referencing old table as before_change
  for each statement execute function grantgate.log_api_key();
create trigger refuse_truncate before truncate on grantgate.api_key for each statement execute function grantgate.refuse_truncate();
alter table grantgate.api_key enable always trigger log_insert;
alter table grantgate.api_key enable always trigger log_update;
alter table grantgate.api_key enable always trigger log_delete;
alter table grantgate.api_key enable always trigger refuse_truncate;

-- As before, and the table of this file.
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
    ('follower', 'refuse_truncate'), ('fleet', 'refuse_truncate'), ('lease', 'refuse_truncate'), ('audit', 'refuse_truncate'),
    ('api_key', 'log_insert'), ('api_key', 'log_update'), ('api_key', 'log_delete'), ('api_key', 'refuse_truncate')) e (rel, name)
  where not exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('grantgate.' || e.rel) and t.tgname = e.name and t.tgenabled = 'A')
$$;

-- As before; of keys a sidecar reads what it judges by, and not what people call them.
create or replace function grantgate.grant_roles() returns void language plpgsql as $$
begin
  revoke all on all functions in schema grantgate from public;
  if to_regrole('grantgate_reader') is not null then
    grant usage on schema grantgate to grantgate_reader;
    -- names and addresses of users are not a sidecar's business
    grant select on grantgate.object, grantgate.customer, grantgate.role, grantgate.membership, grantgate.group_permission,
      grantgate.change, grantgate.touched, grantgate.follower, grantgate.fleet, grantgate.lease, grantgate.migration to grantgate_reader;
    grant select (id, tenant, kind, enabled) on grantgate.user_account to grantgate_reader;
    grant select (hash, tenant, user_id, expires) on grantgate.api_key to grantgate_reader;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers() to grantgate_reader;
  end if;
  if to_regrole('grantgate_writer') is not null then
    grant usage on schema grantgate to grantgate_writer;
    grant select, insert, update, delete on grantgate.object, grantgate.user_account, grantgate.customer, grantgate.role,
      grantgate.membership, grantgate.group_permission, grantgate.api_key to grantgate_writer;
    grant select on grantgate.audit, grantgate.change, grantgate.touched, grantgate.follower, grantgate.fleet, grantgate.lease, grantgate.migration to grantgate_writer;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers(), grantgate.touch(text, text[]), grantgate.write_audit(jsonb) to grantgate_writer;
  end if;
end $$;
revoke all on all functions in schema grantgate from public;
