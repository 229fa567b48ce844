-- What changed, and in which order did it become true?
--
-- The change log of coherence 3.3. Statement triggers append the touched keys (3.6), a deferred trigger numbers the commit
-- under a latch, a notification without content is the doorbell. All of them fire under session_replication_role = replica
-- too (`enable always`): a change that the log does not know would be served from caches for ever.

create table grantgate.latch ();                       -- only ever locked
create sequence grantgate.version;
create table grantgate.touched (                       -- WHAT changed: appended by statement triggers
  n    bigint generated always as identity primary key,
  tag  text collate "C" not null,
  keys text[] collate "C" not null,                    -- '{}' = every key of the tag
  size int generated always as (cardinality(keys)) stored,
  constraint touched_tag check (tag in ('o', 'g', 'r', 'n', 'k', '*'))
);
create table grantgate.change (                        -- WHEN it became true: appended at commit, in the order of commits
  version bigint primary key,
  id      uuid not null default gen_random_uuid(),     -- (version, id) fingerprints the whole prefix
  n       bigint not null,
  at      timestamptz not null default clock_timestamp()  -- for trimming and dashboards only
);
insert into grantgate.change (version, n) values (0, 0);  -- genesis; the newest row is never trimmed

-- Deferred, so that the latch is held from here to the end of the commit only. The lock on an empty table is privilege-checked
-- (advisory locks are not), and a counter row would give 40001 to REPEATABLE READ writers.
create function grantgate.seal() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  v bigint;
begin
  lock table grantgate.latch in exclusive mode;
  v := nextval('grantgate.version');
  if v <= (select c.version from grantgate.change c order by c.version desc limit 1) then
    raise exception 'grantgate.version is behind the log' using errcode = '55000', hint = 'grantgate doctor --repair';
  end if;
  insert into grantgate.change (version, n) values (v, new.n);
  perform set_config('grantgate.version', v::text, true);
  perform pg_notify('grantgate', '');
  return null;
end $$;
create constraint trigger seal after insert on grantgate.touched
  deferrable initially deferred for each row execute function grantgate.seal();

-- Inside a transaction that wrote, after `set constraints all immediate`: its own revision; else the newest.
create function grantgate.revision() returns text language sql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
  select c.version || '-' || c.id from grantgate.change c
  where c.version = coalesce(nullif(current_setting('grantgate.version', true), '')::bigint,
    (select max(m.version) from grantgate.change m))
$$;

-- One row up to 10,000 keys, up to 100,000 in rows of 10,000; beyond, one row for every key of the tag. Callers ask for at
-- most 100,001 keys, so that nothing larger is ever put together.
create function grantgate.append_touched(tag text, keys text[]) returns void language plpgsql
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  size int := coalesce(cardinality(keys), 0);
begin
  if size > 100000 then
    insert into grantgate.touched (tag, keys) values (tag, '{}');
  else
    for i in 1 .. size by 10000 loop
      insert into grantgate.touched (tag, keys) values (tag, keys[i : i + 9999]);
    end loop;
  end if;
end $$;

-- By hand: touch('*') after an edit of the vocabulary or a write that went past the triggers; touch('o', 'id', …) for some keys.
create function grantgate.touch(tag text, variadic keys text[] default '{}') returns void language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
begin
  if cardinality(keys) = 0 or tag = '*' then
    insert into grantgate.touched (tag, keys) values (tag, '{}');
  else
    perform grantgate.append_touched(tag, keys);
  end if;
end $$;

-- The table of coherence 3.6. `except` and no join: these plans are cached, and a nested loop that was planned for one row
-- would be run for a hundred thousand.

create function grantgate.log_object() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  if tg_op = 'UPDATE' then
    select array_agg(x.id) into k from (
      select y.id from (select a.id, a.owner from after_change a except select b.id, b.owner from before_change b) y limit 100001) x;
    if k is null then
      return null;
    end if;
    perform append_touched('o', k);
    select array_agg(x.id) into k from (
      select y.id from (select a.id, a.owner from after_change a where a.kind = 'customer'
        except select b.id, b.owner from before_change b) y limit 100001) x;
    perform append_touched('n', k);
  elsif tg_op = 'INSERT' then
    select array_agg(x.id) into k from (select a.id from after_change a limit 100001) x;
    if k is null then
      return null;
    end if;
    perform append_touched('o', k);
    select array_agg(x.id) into k from (select a.id from after_change a where a.kind in ('tenant', 'customer') limit 100001) x;
    perform append_touched('n', k);
  else
    select array_agg(x.id) into k from (select b.id from before_change b limit 100001) x;
    if k is null then
      return null;
    end if;
    perform append_touched('o', k);
    select array_agg(x.id) into k from (select b.id from before_change b where b.kind in ('tenant', 'customer') limit 100001) x;
    perform append_touched('n', k);
  end if;
  return null;
end $$;
create trigger log_insert after insert on grantgate.object referencing new table as after_change
  for each statement execute function grantgate.log_object();
create trigger log_update after update on grantgate.object referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_object();
create trigger log_delete after delete on grantgate.object referencing old table as before_change
  for each statement execute function grantgate.log_object();

create function grantgate.log_user_account() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  select array_agg(x.id) into k from (
    select y.id from (select a.id, a.enabled from after_change a except select b.id, b.enabled from before_change b) y limit 100001) x;
  perform append_touched('o', k);
  return null;
end $$;
create trigger log_update after update on grantgate.user_account referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_user_account();

create function grantgate.log_role() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  select array_agg(x.id) into k from (
    select y.id from (select a.id, a.type, a.permissions, a.excluded from after_change a
      except select b.id, b.type, b.permissions, b.excluded from before_change b) y limit 100001) x;
  perform append_touched('r', k);
  return null;
end $$;
create trigger log_update after update on grantgate.role referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_role();

-- A membership that ends because its member is deleted or gets another owner is not logged again: the member's own row has
-- logged the same key in this transaction (foreign keys see to it that no other transaction's change can look like that).
-- Without this, 2,000 devices that change owner would be 2,000 commits to a follower, more than one pull carries.
-- `limit 1` keeps the planner from a join.
create function grantgate.log_membership() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  if tg_op = 'UPDATE' then
    select array_agg(x.member_id) into k from (
      select distinct y.member_id from (
        (select a.group_id, a.member_id from after_change a except select b.group_id, b.member_id from before_change b)
        union all
        (select b.group_id, b.member_id from before_change b except select a.group_id, a.member_id from after_change a)) y
      limit 100001) x;
  elsif tg_op = 'INSERT' then
    select array_agg(x.member_id) into k from (select distinct a.member_id from after_change a limit 100001) x;
  else
    select array_agg(x.member_id) into k from (
      select distinct b.member_id from before_change b
      where (select m.owner from object m where m.id = b.member_id limit 1) = b.owner limit 100001) x;
  end if;
  perform append_touched('o', k);
  return null;
end $$;
create trigger log_insert after insert on grantgate.membership referencing new table as after_change
  for each statement execute function grantgate.log_membership();
create trigger log_update after update on grantgate.membership referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_membership();
create trigger log_delete after delete on grantgate.membership referencing old table as before_change
  for each statement execute function grantgate.log_membership();

-- The grant's own key (`o`) is logged by its row in `object` when it comes or goes, and here when it changes.
create function grantgate.log_group_permission() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  if tg_op = 'UPDATE' then
    select array_agg(x.g) into k from (
      select distinct coalesce(y.user_group, 'all:USER:' || y.user_owner) g from (
        (select a.id, a.user_owner, a.user_group, a.role, a.entity_owner, a.entity_type, a.entity_group, a.shared from after_change a
         except
         select b.id, b.user_owner, b.user_group, b.role, b.entity_owner, b.entity_type, b.entity_group, b.shared from before_change b)
        union all
        (select b.id, b.user_owner, b.user_group, b.role, b.entity_owner, b.entity_type, b.entity_group, b.shared from before_change b
         except
         select a.id, a.user_owner, a.user_group, a.role, a.entity_owner, a.entity_type, a.entity_group, a.shared from after_change a)) y
      limit 100001) x;
    perform append_touched('g', k);
    if k is not null then
      select array_agg(x.id) into k from (
        select distinct y.id from (
          (select a.id, a.user_owner, a.user_group, a.role, a.entity_owner, a.entity_type, a.entity_group, a.shared from after_change a
           except
           select b.id, b.user_owner, b.user_group, b.role, b.entity_owner, b.entity_type, b.entity_group, b.shared from before_change b)
          union all
          (select b.id, b.user_owner, b.user_group, b.role, b.entity_owner, b.entity_type, b.entity_group, b.shared from before_change b
           except
           select a.id, a.user_owner, a.user_group, a.role, a.entity_owner, a.entity_type, a.entity_group, a.shared from after_change a)) y
        limit 100001) x;
      perform append_touched('o', k);
    end if;
  elsif tg_op = 'INSERT' then
    select array_agg(x.g) into k from (
      select distinct coalesce(a.user_group, 'all:USER:' || a.user_owner) g from after_change a limit 100001) x;
    perform append_touched('g', k);
  else
    select array_agg(x.g) into k from (
      select distinct coalesce(b.user_group, 'all:USER:' || b.user_owner) g from before_change b limit 100001) x;
    perform append_touched('g', k);
  end if;
  return null;
end $$;
create trigger log_insert after insert on grantgate.group_permission referencing new table as after_change
  for each statement execute function grantgate.log_group_permission();
create trigger log_update after update on grantgate.group_permission referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_group_permission();
create trigger log_delete after delete on grantgate.group_permission referencing old table as before_change
  for each statement execute function grantgate.log_group_permission();
