-- Who changed what, as whom, and how is a thing found by its name?

-- Nothing refers to anything: a row outlives whatever it tells of. Rows are added by `write_audit` alone, and by nobody changed.
create table grantgate.audit (
  id         bigint generated always as identity,
  at         timestamptz not null default clock_timestamp(),
  revision   text not null,
  tenant     text collate "C" not null,
  owner      text collate "C" not null,   -- of the target at that time: whoever has that owner in its scope may read the row
  actor_kind text not null,
  actor      text collate "C" not null,   -- user id; the operator has none
  as_user    text collate "C" not null,   -- whose permissions were used: another user's where somebody had logged in as it
  action     text not null,
  target     text collate "C" not null,
  before     jsonb,
  after      jsonb,
  request_id text not null,
  constraint audit_pkey primary key (id),
  constraint audit_actor_kind check (actor_kind in ('user', 'operator')),
  constraint audit_actor check ((actor_kind = 'operator') = (actor = '') and (actor_kind = 'operator') = (as_user = ''))
);
create index audit_tenant_idx on grantgate.audit (tenant, id);
create index audit_target_idx on grantgate.audit (target, id);

-- The last thing of a transaction: it seals the change log (and holds its latch from there to the commit), and writes down under which
-- revision. Of a transaction that touched nothing that decides, that is the newest one.
create function grantgate.write_audit(entries jsonb) returns text language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  sealed text;
begin
  set constraints grantgate.second_row immediate;
  set constraints all immediate;
  sealed := revision();
  insert into audit (revision, tenant, owner, actor_kind, actor, as_user, action, target, before, after, request_id)
    select sealed, e.tenant, e.owner, e.actor_kind, e.actor, e.as_user, e.action, e.target,
      nullif(e.before, 'null'), nullif(e.after, 'null'), e.request_id
    from jsonb_to_recordset(entries) as e (
      tenant text, owner text, actor_kind text, actor text, as_user text, action text, target text, before jsonb, after jsonb, request_id text);
  return sealed;
end $$;

-- Lists and their search, in the order of names, page by page: of a tenant by this index alone, whoever owns how much of it. It includes
-- the label, without which no plan takes the expression from the index ([measured] 8,000 rows in 45 ms, and in 5 ms so), and orders by its
-- first 200 characters: of the longest names and ids a row would else be more than a page of an index takes.
-- The type first: of an index that begins with tenant and kind a planner without statistics thinks as well as of object_second_key, and
-- each foreign key check of a second row then reads all that the tenant has of the kind [measured: 3,000 roles in 1.9 s, and in 0.2 s so].
create index object_name_idx on grantgate.object
  (type, tenant, kind, (lower(coalesce(left(label, 200), ''))) collate "C", id) include (owner, label);
create index user_account_email_idx on grantgate.user_account (tenant, (lower(email)) collate "C");

create trigger refuse_truncate before truncate on grantgate.audit for each statement execute function grantgate.refuse_truncate();
alter table grantgate.audit enable always trigger refuse_truncate;

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
    ('follower', 'refuse_truncate'), ('fleet', 'refuse_truncate'), ('lease', 'refuse_truncate'), ('audit', 'refuse_truncate')) e (rel, name)
  where not exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('grantgate.' || e.rel) and t.tgname = e.name and t.tgenabled = 'A')
$$;

-- As before; the audit is nobody's to read but a writer's, who adds to it by the function alone.
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
    grant select on grantgate.audit, grantgate.change, grantgate.touched, grantgate.follower, grantgate.fleet, grantgate.lease, grantgate.migration to grantgate_writer;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers(), grantgate.touch(text, text[]), grantgate.write_audit(jsonb) to grantgate_writer;
  end if;
end $$;
revoke all on all functions in schema grantgate from public;
