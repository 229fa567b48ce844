-- How does a person write to the log by hand, what must a trim leave to the followers, and who sees that both rows of an object are there?

-- By hand: touch('*') after a write that went past the triggers; touch('o', '{id, …}') for some keys; touch('o') for every key of the
-- tag. Returns the revision, so that one can wait for it. It is sealed here and now, so the latch is held until the transaction ends.
drop function grantgate.touch(text, text[]);
create function grantgate.touch(tag text, keys text[] default '{}') returns text language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  wrong text;
begin
  if tag is null or tag not in ('o', 'g', 'r', 'n', 'k', '*') then
    raise exception 'tag: expected one of o (object), g (user group), r (role), n (tenant or customer), k (API key), * (everything), got %',
        coalesce('"' || left(tag, 80) || '"', 'null')
      using errcode = '22023', hint = 'grantgate.touch(''*'') is always right, and makes every sidecar begin anew';
  end if;
  -- Not taken for an empty list, which is every key: an array_agg over no rows is null.
  if keys is null then
    raise exception 'keys: expected ids, got null' using errcode = '22023', hint = 'for every key of the tag leave keys out';
  end if;
  if array_ndims(keys) > 1 then
    raise exception 'keys: expected one list of ids, got an array of % dimensions', array_ndims(keys) using errcode = '22023';
  end if;
  if tag = '*' and cardinality(keys) > 0 then
    raise exception 'keys: tag * is everything, and has none' using errcode = '22023', hint = 'leave keys out, or name the tag of the keys';
  end if;
  select coalesce('"' || left(k, 80) || '"', 'null') into wrong from unnest(keys) k
    where k is null or octet_length(k) not between 1 and 255 or k ~ '[\u0001-\u001f\u007f-\u009f]' limit 1;
  if found then
    raise exception 'keys: % cannot be an id: 1 to 255 bytes, without control characters', wrong using errcode = '22023';
  end if;
  if cardinality(keys) = 0 then
    insert into grantgate.touched (tag, keys) values (tag, '{}');
  else
    perform append_touched(tag, keys);
  end if;
  set constraints grantgate.seal immediate;
  set constraints grantgate.seal deferred;
  return revision();
end $$;

-- The newest version from before the last `span`: who was at the head when it began stands there. Null if the log begins later.
create function grantgate.head_before(span interval) returns bigint language sql stable
  set search_path = pg_catalog, grantgate, pg_temp as $$
  select max(b.version) from change b
  where b.version < coalesce(
    (select c.version from change c where c.at >= clock_timestamp() - span order by c.version limit 1), 9223372036854775807)
$$;

-- Takes the oldest versions away: a prefix by version, never by time row by row (clocks differ after a fail-over), never anything
-- younger than an hour. It leaves the version that was the newest when `keep` began, however old: after a quiet day every follower
-- stands on that one until its next pull. It leaves, for up to a week, what a follower with a running lease has reported.
-- Returns how many. 0 if somebody else is at it: a locked row of a table that only the owner can lock, for an advisory lock could be
-- held by every login of the database.
create or replace function grantgate.trim(keep interval default interval '24 hours') returns bigint language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  span interval := greatest(coalesce(keep, interval '24 hours'), interval '1 hour');
  first_kept bigint;
  gone bigint;
begin
  perform from migration m where m.version = 2 for no key update skip locked;
  if not found then
    return 0;
  end if;
  first_kept := head_before(span);
  if first_kept is null then
    return 0;
  end if;
  first_kept := greatest(
    least(first_kept, (select min(f.version) from follower f where f.lease_until > clock_timestamp())),
    head_before(span + interval '7 days'));
  with old_change as (delete from change c where c.version < first_kept returning c.n),
       old_touched as (delete from touched t using old_change c where t.n = c.n)
    select count(*) into gone from old_change;
  return gone;
end $$;

-- By the end of a transaction both rows are there. Locked, because a mere look under REPEATABLE READ finds a row that another
-- transaction has deleted since; locking that one is 40001. (Until now it was a mere look.)
create or replace function grantgate.require_second_row() returns trigger language plpgsql as $$
begin
  case new.kind
    when 'user' then perform from grantgate.user_account where id = new.id for key share;
    when 'customer' then perform from grantgate.customer where id = new.id for key share;
    when 'role' then perform from grantgate.role where id = new.id for key share;
    else perform from grantgate.group_permission where id = new.id for key share;
  end case;
  if found or not exists (select from grantgate.object where id = new.id) then
    return null;
  end if;
  raise exception '% "%" has no row in grantgate.%', new.kind, new.id,
      case new.kind when 'user' then 'user_account' when 'grant' then 'group_permission' else new.kind end
    using errcode = '23514', schema = 'grantgate', table = 'object', constraint = 'second_row',
      hint = 'insert both rows in one transaction';
end $$;
revoke all on all functions in schema grantgate from public;
