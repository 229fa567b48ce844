-- What is in the database, and which states can it never be in?
--
-- One row in `object` for everything that has an id (semantics 1); users, customers, roles and grants have a second row.
-- The tenant is part of every foreign key, so nothing ever refers across tenants. Runs on PostgreSQL 15 and later.
-- `grantgate migrate` has made the schema, and runs each of these files in one transaction as the role that owns it.

create table grantgate.object (
  id      text collate "C" not null,
  tenant  text collate "C" not null,
  kind    text collate "C" not null,
  type    text collate "C" not null,   -- of a group: the type of its members
  owner   text collate "C",            -- a tenant or a customer; null for a tenant
  label   text,                        -- what lists show: name, title. No decision reads it.

  -- Null for whatever is not a possible target of the key: a million entities then cost these two indexes next to nothing
  -- (equal keys, appended at the end, deduplicated).
  node_id   text collate "C" generated always as (case when kind in ('tenant', 'customer') then id end) stored,
  second_id text collate "C" generated always as (case when kind in ('user', 'customer', 'role') then id end) stored,

  constraint object_pkey primary key (id),
  constraint object_whole_key unique (id, tenant, kind, type, owner),     -- members, group sides, grants
  constraint object_node_key unique (node_id, tenant),                    -- owners
  constraint object_second_key unique (second_id, tenant, kind),          -- second rows

  constraint object_id_bytes check (octet_length(id) between 1 and case when kind in ('tenant', 'customer') then 200 else 255 end),
  constraint object_id_no_control check (id !~ '[\u0001-\u001f\u007f-\u009f]'),
  constraint object_id_reserved check (
    case
      when id = '*' or starts_with(id, 'all:') then false
      when strpos(id, ':') = 0 then true
      when starts_with(id, 'admins:') or starts_with(id, 'users:')
        then kind = 'group' and type = 'USER' and owner is not null and id in ('admins:' || owner, 'users:' || owner)
      when starts_with(id, 'role:')
        then kind = 'role' and owner is not null and id in ('role:admin:' || owner, 'role:user:' || owner)
      else true
    end),
  constraint object_kind check (kind in ('tenant', 'customer', 'user', 'group', 'role', 'grant', 'entity')),
  constraint object_type check (
    octet_length(type) <= 63 and type ~ '^[A-Z][A-Z0-9_]*$' and
    case kind
      when 'tenant' then type = 'TENANT'
      when 'customer' then type = 'CUSTOMER'
      when 'user' then type = 'USER'
      when 'role' then type = 'ROLE'
      when 'grant' then type = 'GROUP_PERMISSION'
      when 'group' then type not in ('TENANT', 'ROLE', 'GROUP_PERMISSION', 'PROFILE')
      else type not in ('TENANT', 'CUSTOMER', 'USER', 'ROLE', 'GROUP_PERMISSION', 'PROFILE')
    end),
  constraint object_tenant_is_root check ((kind = 'tenant') = (tenant = id) and (kind = 'tenant') = (owner is null)),
  constraint object_not_own_owner check (owner <> id),
  constraint object_label_length check (octet_length(label) <= 1000),

  constraint object_owner_fkey foreign key (owner, tenant) references grantgate.object (node_id, tenant)
);
-- By owner alone: with a second column it looks as good as object_whole_key to a planner without statistics (a table being
-- filled), and each foreign key check then read all that the owner has, 2.6 ms instead of 0.03.
create index object_owner_idx on grantgate.object (owner);
create index object_child_idx on grantgate.object (owner) where kind = 'customer';
create index object_tree_idx on grantgate.object (id) include (owner) where kind in ('tenant', 'customer');

create table grantgate.user_account (
  id         text collate "C" not null,
  tenant     text collate "C" not null,
  kind       text collate "C" generated always as ('user') stored,
  enabled    boolean not null default true,
  email      text,
  first_name text,
  last_name  text,
  last_login timestamptz,
  constraint user_account_pkey primary key (id),
  constraint user_account_object_fkey foreign key (id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);

-- A customer's title is its label and its parent its owner; what else is known of it decides nothing.
create table grantgate.customer (
  id      text collate "C" not null,
  tenant  text collate "C" not null,
  kind    text collate "C" generated always as ('customer') stored,
  details jsonb not null default '{}',
  constraint customer_pkey primary key (id),
  constraint customer_details_shape check (jsonb_typeof(details) = 'object'),
  constraint customer_object_fkey foreign key (id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);

create table grantgate.role (
  id          text collate "C" not null,
  tenant      text collate "C" not null,
  kind        text collate "C" generated always as ('role') stored,
  type        text collate "C" not null,
  permissions jsonb not null,
  excluded    jsonb not null default '{}',
  constraint role_pkey primary key (id),
  constraint role_type_key unique (id, tenant, type),
  constraint role_type check (type in ('GENERIC', 'GROUP')),
  -- GENERIC: resource -> list of operations, twice. GROUP: a list of operations, and nothing is excluded.
  constraint role_permissions_shape check (
    case type
      when 'GENERIC' then jsonb_typeof(permissions) = 'object'
        and not jsonb_path_exists(permissions, 'strict $.* ? (@.type() != "array")', silent => true)
        and not jsonb_path_exists(permissions, 'strict $.*[*] ? (@.type() != "string")', silent => true)
      else jsonb_typeof(permissions) = 'array'
        and not jsonb_path_exists(permissions, 'strict $[*] ? (@.type() != "string")', silent => true)
    end),
  constraint role_excluded_shape check (
    case type
      when 'GENERIC' then jsonb_typeof(excluded) = 'object'
        and not jsonb_path_exists(excluded, 'strict $.* ? (@.type() != "array")', silent => true)
        and not jsonb_path_exists(excluded, 'strict $.*[*] ? (@.type() != "string")', silent => true)
      else excluded = '{}'
    end),
  constraint role_object_fkey foreign key (id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);

-- Group and member share tenant, type and owner because one set of columns refers to both.
create table grantgate.membership (
  tenant      text collate "C" not null,
  group_id    text collate "C" not null,
  member_id   text collate "C" not null,
  type        text collate "C" not null,
  owner       text collate "C" not null,
  group_kind  text collate "C" generated always as ('group') stored,
  member_kind text collate "C" generated always as (case type when 'USER' then 'user' when 'CUSTOMER' then 'customer' else 'entity' end) stored,
  constraint membership_pkey primary key (group_id, member_id),
  constraint membership_group_fkey foreign key (group_id, tenant, group_kind, type, owner)
    references grantgate.object (id, tenant, kind, type, owner) on delete cascade,
  constraint membership_member_fkey foreign key (member_id, tenant, member_kind, type, owner)
    references grantgate.object (id, tenant, kind, type, owner) on delete cascade
);
create index membership_member_idx on grantgate.membership (member_id);

-- A side is (owner, type, group); a null group is that owner's All group of the type. The text id all:… exists at the edges only.
create table grantgate.group_permission (
  id           text collate "C" not null,
  tenant       text collate "C" not null,
  kind         text collate "C" generated always as ('grant') stored,
  type         text collate "C" generated always as ('GROUP_PERMISSION') stored,
  group_kind   text collate "C" generated always as ('group') stored,
  user_owner   text collate "C" not null,
  user_type    text collate "C" generated always as ('USER') stored,
  user_group   text collate "C",
  role         text collate "C" not null,
  role_type    text collate "C" not null,
  entity_owner text collate "C",
  entity_type  text collate "C",
  entity_group text collate "C",
  shared       boolean not null default false,
  constraint group_permission_pkey primary key (id),
  constraint group_permission_unique unique nulls not distinct
    (user_owner, user_group, role, entity_owner, entity_type, entity_group, tenant),
  constraint group_permission_shape check (
    case role_type
      when 'GENERIC' then entity_owner is null and entity_type is null and entity_group is null
      else entity_owner is not null and entity_type is not null
    end),
  -- an explicit group's type is checked by its foreign key; that of an All group only here
  constraint group_permission_entity_type check (
    octet_length(entity_type) <= 63 and entity_type ~ '^[A-Z][A-Z0-9_]*$' and entity_type not in ('TENANT', 'ROLE', 'GROUP_PERMISSION', 'PROFILE')),
  constraint group_permission_object_fkey foreign key (id, tenant, kind, type, user_owner)
    references grantgate.object (id, tenant, kind, type, owner) on delete cascade,
  -- cascade for a whole tenant deleted by one statement; a grant that only hangs on its owner is kept by its row in object
  constraint group_permission_user_owner_fkey foreign key (user_owner, tenant) references grantgate.object (node_id, tenant) on delete cascade,
  constraint group_permission_user_group_fkey foreign key (user_group, tenant, group_kind, user_type, user_owner)
    references grantgate.object (id, tenant, kind, type, owner) on delete cascade,
  constraint group_permission_role_fkey foreign key (role, tenant, role_type)
    references grantgate.role (id, tenant, type) on delete cascade,
  constraint group_permission_entity_owner_fkey foreign key (entity_owner, tenant)
    references grantgate.object (node_id, tenant) on delete cascade,
  constraint group_permission_entity_group_fkey foreign key (entity_group, tenant, group_kind, entity_type, entity_owner)
    references grantgate.object (id, tenant, kind, type, owner) on delete cascade
);
create index group_permission_user_group_idx on grantgate.group_permission (user_group);
create index group_permission_role_idx on grantgate.group_permission (role);
create index group_permission_entity_group_idx on grantgate.group_permission (entity_group);
create index group_permission_entity_owner_idx on grantgate.group_permission (entity_owner, entity_group);

-- What a table constraint cannot say. Triggers whose name begins with A_ must run before the foreign keys' own
-- (RI_ConstraintTrigger_…): triggers of one event fire in the order of their names.

-- Tenant, kind and type of an id never change; nor does the owner of a group (semantics 1.1).
create function grantgate.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'tenant, kind and type of "%" never change, nor does the owner of a group', old.id
    using errcode = '23514', schema = 'grantgate', table = 'object', constraint = 'object_fixed',
      hint = 'delete it and make a new one';
end $$;
create trigger object_fixed before update on grantgate.object for each row
  when (old.id <> new.id or old.tenant <> new.tenant or old.kind <> new.kind or old.type <> new.type
    or (old.kind = 'group' and old.owner <> new.owner))
  execute function grantgate.refuse_change();

-- A changed owner ends the explicit memberships (semantics 1.5). After the change, so that the log sees that the member's own
-- row has said it already.
create function grantgate.leave_groups() returns trigger language plpgsql as $$
begin
  delete from grantgate.membership where member_id = new.id;
  return null;
end $$;
create trigger "A_leave_groups" after update on grantgate.object for each row
  when (old.owner is distinct from new.owner and new.kind in ('user', 'customer', 'entity'))
  execute function grantgate.leave_groups();

-- An owner takes its predefined groups and roles along; anything else that it owns makes object_owner_fkey refuse (semantics 1.5).
create function grantgate.take_predefined() returns trigger language plpgsql as $$
begin
  delete from grantgate.object
    where id in ('admins:' || old.id, 'users:' || old.id, 'role:admin:' || old.id, 'role:user:' || old.id) and owner = old.id;
  return null;
end $$;
create trigger "A_take_predefined" after delete on grantgate.object for each row
  when (old.kind in ('tenant', 'customer')) execute function grantgate.take_predefined();

-- Deleting the second row deletes the first; the other way is a cascade.
create function grantgate.take_object() returns trigger language plpgsql as $$
begin
  if exists (select from gone) then
    delete from grantgate.object where id in (select g.id from gone g);
  end if;
  return null;
end $$;
create trigger take_object after delete on grantgate.user_account referencing old table as gone
  for each statement execute function grantgate.take_object();
create trigger take_object after delete on grantgate.customer referencing old table as gone
  for each statement execute function grantgate.take_object();
create trigger take_object after delete on grantgate.role referencing old table as gone
  for each statement execute function grantgate.take_object();
create trigger take_object after delete on grantgate.group_permission referencing old table as gone
  for each statement execute function grantgate.take_object();

-- A grant belongs to the owner of its user group.
create function grantgate.follow_user_group() returns trigger language plpgsql as $$
begin
  update grantgate.object set owner = new.user_owner where id = new.id;
  return null;
end $$;
create trigger "A_follow_user_group" after update on grantgate.group_permission for each row
  when (old.user_owner <> new.user_owner) execute function grantgate.follow_user_group();

-- A second row stays with its first: one that went over to another object would leave behind a user without an account, which a
-- fill reads as disabled, and of which the log would say nothing.
create function grantgate.refuse_other_object() returns trigger language plpgsql as $$
begin
  raise exception 'the row of "%" in grantgate.% stays with it', old.id, tg_table_name
    using errcode = '23514', schema = 'grantgate', table = tg_table_name, constraint = 'second_row_fixed',
      hint = 'delete it and make a new one';
end $$;
create trigger second_row_fixed before update on grantgate.user_account for each row
  when (old.id <> new.id) execute function grantgate.refuse_other_object();
create trigger second_row_fixed before update on grantgate.customer for each row
  when (old.id <> new.id) execute function grantgate.refuse_other_object();
create trigger second_row_fixed before update on grantgate.role for each row
  when (old.id <> new.id) execute function grantgate.refuse_other_object();
create trigger second_row_fixed before update on grantgate.group_permission for each row
  when (old.id <> new.id) execute function grantgate.refuse_other_object();

-- By the end of a transaction both rows are there. Entities, groups and tenants are never queued.
create function grantgate.require_second_row() returns trigger language plpgsql as $$
begin
  if (case new.kind
        when 'user' then exists (select from grantgate.user_account where id = new.id)
        when 'customer' then exists (select from grantgate.customer where id = new.id)
        when 'role' then exists (select from grantgate.role where id = new.id)
        else exists (select from grantgate.group_permission where id = new.id)
      end) or not exists (select from grantgate.object where id = new.id) then
    return null;
  end if;
  raise exception '% "%" has no row in grantgate.%', new.kind, new.id,
      case new.kind when 'user' then 'user_account' when 'grant' then 'group_permission' else new.kind end
    using errcode = '23514', schema = 'grantgate', table = 'object', constraint = 'second_row',
      hint = 'insert both rows in one transaction';
end $$;
create constraint trigger second_row after insert on grantgate.object deferrable initially deferred for each row
  when (new.kind in ('user', 'customer', 'role', 'grant')) execute function grantgate.require_second_row();

-- No cycle, and at most 1,000 customers above one another (semantics 1).
--
-- Two transactions that each see half of a cycle must not both commit. The guard therefore first changes a row of the tenant:
-- under READ COMMITTED the second waits and then sees the first; under REPEATABLE READ and SERIALIZABLE it gets 40001. A mere
-- lock (advisory, row or table) commits the cycle under REPEATABLE READ, because the second keeps its old snapshot.
create table grantgate.tenant_tree (
  tenant   text collate "C" not null,
  moves    bigint not null,
  moved_by xid8 not null,     -- once per transaction is enough: 50,000 versions of one row would be read again and again
  constraint tenant_tree_pkey primary key (tenant),
  constraint tenant_tree_tenant_fkey foreign key (tenant) references grantgate.object (id) on delete cascade
);

create function grantgate.check_tree(moved text[], inserted boolean) returns void language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp set plan_cache_mode = force_custom_plan
  set enable_nestloop = on set enable_hashjoin = on set enable_mergejoin = on -- so that what is set below ends with the function
  as $$
declare
  ids text[] collate "C";
  owners text[] collate "C";
  depths int[];
  culprit text collate "C";
  above_itself text collate "C";
begin
  insert into tenant_tree as t (tenant, moves, moved_by)
    select distinct o.tenant, 1, pg_current_xact_id() from object o where o.id = any (moved) order by o.tenant
    on conflict (tenant) do update set moves = t.moves + 1, moved_by = excluded.moved_by where t.moved_by <> excluded.moved_by;

  -- `up`: the changed customers and everything above them, each once, so that a cycle ends too. By index, step by step: the
  -- planner cannot know how little of the table that is.
  perform set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);
  with recursive up (id, owner) as (
      select o.id, o.owner from object o where o.id = any (moved)
      union
      select o.id, o.owner from up join object o on o.id = up.owner)
    select array_agg(up.id), array_agg(up.owner) into ids, owners from up;

  -- `depth`: of those, from the tenants down; what is not reached hangs on a cycle, or too deep. Not by nested loops: [measured]
  -- 1,000 customers in a chain took 0.8 s.
  perform set_config('enable_nestloop', 'off', true), set_config('enable_hashjoin', 'on', true);
  with recursive
    up (id, owner) as materialized (select u.id, u.owner from unnest(ids, owners) u (id, owner)),
    down (id, depth) as (
      select up.id, 0 from up where up.owner is null
      union all
      select up.id, down.depth + 1 from down join up on up.owner = down.id where down.depth < 1000),
    reached as (
      select m.id, down.depth from unnest(moved) m (id) left join down on down.id = m.id)
    select min(reached.id) filter (where reached.depth is null), array_agg(reached.id), array_agg(reached.depth)
      into culprit, ids, depths from reached;

  -- The subtrees of moved customers hang deeper, or less deep, with them. Inserted ones have none but each other.
  if culprit is null and not inserted then
    perform set_config('enable_nestloop', 'on', true), set_config('enable_hashjoin', 'off', true);
    with recursive below (id, depth) as (
        select m.id, m.depth from unnest(ids, depths) m (id, depth)
        union all
        select o.id, below.depth + 1 from below join object o on o.owner = below.id and o.kind = 'customer' where below.depth <= 1000)
      select min(below.id) into culprit from below where below.depth > 1000;
  end if;
  if culprit is null then
    return;
  end if;

  perform set_config('enable_nestloop', 'on', true);
  with recursive up (id, owner) as (
      select o.id, o.owner from object o where o.id = any (moved)
      union
      select up.id, o.owner from up join object o on o.id = up.owner)
    select up.id into above_itself from up where up.owner = up.id order by up.id limit 1;
  if above_itself is not null then
    raise exception 'customer "%" would be above itself', above_itself
      using errcode = '23514', schema = 'grantgate', table = 'object', constraint = 'object_no_cycle';
  end if;
  raise exception 'customer "%" would be more than 1,000 deep', culprit
    using errcode = '23514', schema = 'grantgate', table = 'object', constraint = 'object_depth';
end $$;

-- Apart, because every statement runs this and few go on: each setting of a function costs its call 10 µs.
create function grantgate.guard_tree() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  moved text[] collate "C";
begin
  if tg_op = 'INSERT' then
    select array_agg(a.id) into moved from after_change a where a.kind = 'customer';
  else
    select array_agg(x.id) into moved from (
      select a.id, a.owner from after_change a where a.kind = 'customer' except select b.id, b.owner from before_change b) x;
  end if;
  if moved is not null then
    perform check_tree(moved, tg_op = 'INSERT');
  end if;
  return null;
end $$;
create trigger guard_tree_insert after insert on grantgate.object referencing new table as after_change
  for each statement execute function grantgate.guard_tree();
create trigger guard_tree_update after update on grantgate.object referencing old table as before_change new table as after_change
  for each statement execute function grantgate.guard_tree();
