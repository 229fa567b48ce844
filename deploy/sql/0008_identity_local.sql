-- Who may log in by a password, and how does the end of a session reach every cache at once?

-- One e-mail, whatever keyboard wrote it, has one spelling: composed (NFC), in small letters (ASCII), and composed again: there are letters that only the
-- small ones are composed to. What is stored of a user stays as it was given.
create function grantgate.log_in_name(email text) returns text language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp as $$ select normalize(lower(normalize(email, NFC) collate "C"), NFC) $$;

-- Of passwords, links and tokens no more than hashes are kept. A user has such a row from the moment on when it sets its password.
create table grantgate.credential (
  user_id  text collate "C" not null,
  tenant   text collate "C" not null,
  kind     text collate "C" generated always as ('user') stored,
  login    text collate "C" not null,   -- the user's e-mail in one spelling (log_in_name), which only one user of all tenants logs in by
  password text collate "C" not null,   -- argon2id, as a PHC string
  changed  timestamptz not null default clock_timestamp(),
  constraint credential_pkey primary key (user_id),
  constraint credential_login_key unique (login),
  constraint credential_login check (octet_length(login) between 1 and 1000 and login = grantgate.log_in_name(login)),
  constraint credential_password check (password like '$argon2id$%' and octet_length(password) <= 500),
  constraint credential_user_fkey foreign key (user_id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);

-- The link by which a user sets a password: the newest one, once, until then.
create table grantgate.activation (
  user_id    text collate "C" not null,
  tenant     text collate "C" not null,
  kind       text collate "C" generated always as ('user') stored,
  hash       text collate "C" not null,
  created    timestamptz not null default clock_timestamp(),
  expires    timestamptz not null,
  created_by text collate "C" not null,   -- user id; '' the operator, or the user itself that has forgotten its password
  constraint activation_pkey primary key (user_id),
  constraint activation_hash_key unique (hash),
  constraint activation_hash check (hash ~ '^[0-9a-f]{64}$'),
  constraint activation_user_fkey foreign key (user_id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);

-- A session is known to caches by the hash of its access token, as a key is. Renewed, it has another one: the old one ends there and then.
create table grantgate.session (
  id      text collate "C" not null,
  tenant  text collate "C" not null,
  user_id text collate "C" not null,
  actor   text collate "C",            -- who has logged in as the user; null: the user itself
  kind    text collate "C" generated always as ('user') stored,
  hash    text collate "C" not null,   -- of the access token
  expires timestamptz not null,        -- likewise
  family  text collate "C",            -- hash of what all refresh tokens of the session begin with; null: it cannot be renewed
  refresh text collate "C",            -- hash of the one that is good
  lately  text[] collate "C" not null default '{}',   -- hashes of those before it that are taken a moment longer, for whoever has not got the answer
  leeway  timestamptz,                 -- until then
  ends    timestamptz not null,        -- of the session, unless it is renewed before
  created timestamptz not null default clock_timestamp(),
  renewed timestamptz,
  constraint session_pkey primary key (id),
  constraint session_hash_key unique (hash),
  constraint session_family_key unique (family),
  constraint session_id_bytes check (octet_length(id) between 1 and 255),
  constraint session_hash check (hash ~ '^[0-9a-f]{64}$'),
  constraint session_refresh check ((family is null) = (refresh is null) and family ~ '^[0-9a-f]{64}$' and refresh ~ '^[0-9a-f]{64}$'),
  constraint session_lately check (array_to_string(lately, '', '?') ~ '^([0-9a-f]{64})*$' and cardinality(lately) <= 32),
  constraint session_expires check (expires between '1970-01-01 00:00:00+00' and '9999-12-31 23:59:59+00' and ends between expires and '9999-12-31 23:59:59+00'),
  -- Whoever has logged in as somebody else logs in again after a while, and not as itself.
  constraint session_actor check (actor is null or (actor <> user_id and family is null)),
  constraint session_user_fkey foreign key (user_id, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade,
  constraint session_actor_fkey foreign key (actor, tenant, kind) references grantgate.object (second_id, tenant, kind) on delete cascade
);
create index session_user_idx on grantgate.session (user_id);
create index session_actor_idx on grantgate.session (actor) where actor is not null;
create index session_ends_idx on grantgate.session (ends);

-- By the hash of what was typed as a log-in name, whether there is such a user or not: nobody learns from a lock who has an account. From a network that
-- is known for it, by the hash of both: so whoever guesses elsewhere locks nobody out at home.
create table grantgate.login_attempt (
  account  text collate "C" not null,
  failures integer not null,
  last     timestamptz not null default clock_timestamp(),
  locked   timestamptz,   -- until then
  constraint login_attempt_pkey primary key (account),
  constraint login_attempt_account check (account ~ '^[0-9a-f]{64}$')
);
create index login_attempt_last_idx on grantgate.login_attempt (last);

-- From where a user has logged in. Known by the hash of its log-in name and the network: it opens nothing, it only has a count of its own.
create table grantgate.known_network (
  user_id text collate "C" not null,
  hash    text collate "C" not null,
  last    timestamptz not null default clock_timestamp(),
  constraint known_network_pkey primary key (hash),
  constraint known_network_hash check (hash ~ '^[0-9a-f]{64}$'),
  constraint known_network_user_fkey foreign key (user_id) references grantgate.credential (user_id) on delete cascade
);
create index known_network_user_idx on grantgate.known_network (user_id, last);

-- As in 0007: what an entry of the cache holds is its user, whoever acts as that, and its end.
create function grantgate.log_session() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
declare
  k text[];
begin
  if tg_op = 'UPDATE' then
    select array_agg(x.hash) into k from (
      select distinct y.hash from (
        (select a.hash, a.user_id, a.actor, a.expires from after_change a except select b.hash, b.user_id, b.actor, b.expires from before_change b)
        union all
        (select b.hash, b.user_id, b.actor, b.expires from before_change b except select a.hash, a.user_id, a.actor, a.expires from after_change a)) y
      limit 100001) x;
  elsif tg_op = 'INSERT' then
    select array_agg(x.hash) into k from (select a.hash from after_change a limit 100001) x;
  else
    select array_agg(x.hash) into k from (select b.hash from before_change b limit 100001) x;
  end if;
  perform append_touched('k', k);
  return null;
end $$;
create trigger log_insert after insert on grantgate.session referencing new table as after_change
  for each statement execute function grantgate.log_session();
create trigger log_update after update on grantgate.session referencing old table as before_change new table as after_change
  for each statement execute function grantgate.log_session();
create trigger log_delete after delete on grantgate.session referencing old table as before_change
  for each statement execute function grantgate.log_session();
create trigger refuse_truncate before truncate on grantgate.session for each statement execute function grantgate.refuse_truncate();
create trigger refuse_truncate before truncate on grantgate.credential for each statement execute function grantgate.refuse_truncate();
create trigger refuse_truncate before truncate on grantgate.activation for each statement execute function grantgate.refuse_truncate();
create trigger refuse_truncate before truncate on grantgate.login_attempt for each statement execute function grantgate.refuse_truncate();
create trigger refuse_truncate before truncate on grantgate.known_network for each statement execute function grantgate.refuse_truncate();
alter table grantgate.session enable always trigger log_insert;
alter table grantgate.session enable always trigger log_update;
alter table grantgate.session enable always trigger log_delete;
alter table grantgate.session enable always trigger refuse_truncate;
alter table grantgate.credential enable always trigger refuse_truncate;
alter table grantgate.activation enable always trigger refuse_truncate;
alter table grantgate.login_attempt enable always trigger refuse_truncate;
alter table grantgate.known_network enable always trigger refuse_truncate;

-- Whoever disables a user ends its sessions, by whatever program: enabled again, it logs in again, and from nowhere in particular.
create function grantgate.end_sessions() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
begin
  delete from session s using after_change a where not a.enabled and s.user_id = a.id;
  delete from session s using after_change a where not a.enabled and s.actor = a.id;
  delete from activation v using after_change a where not a.enabled and v.user_id = a.id;
  delete from known_network n using after_change a where not a.enabled and n.user_id = a.id;
  return null;
end $$;
create trigger end_sessions after update on grantgate.user_account referencing new table as after_change
  for each statement execute function grantgate.end_sessions();
alter table grantgate.user_account enable always trigger end_sessions;

-- Who has another e-mail logs in by that one; a link that went to the old one is no good any more, and who has none cannot log in. The networks go with the
-- old one: it may be somebody else's now.
create function grantgate.follow_email() returns trigger language plpgsql security definer
  set search_path = pg_catalog, grantgate, pg_temp as $$
begin
  delete from activation where user_id = new.id;
  delete from known_network where user_id = new.id;
  if coalesce(new.email, '') = '' then
    delete from credential where user_id = new.id;
  else
    update credential set login = log_in_name(new.email) where user_id = new.id;
  end if;
  return null;
end $$;
create trigger follow_email after update on grantgate.user_account for each row
  when (old.email is distinct from new.email) execute function grantgate.follow_email();
alter table grantgate.user_account enable always trigger follow_email;

-- As before, and the tables of this file.
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
    ('api_key', 'log_insert'), ('api_key', 'log_update'), ('api_key', 'log_delete'), ('api_key', 'refuse_truncate'),
    ('session', 'log_insert'), ('session', 'log_update'), ('session', 'log_delete'), ('session', 'refuse_truncate'),
    ('credential', 'refuse_truncate'), ('activation', 'refuse_truncate'), ('login_attempt', 'refuse_truncate'), ('known_network', 'refuse_truncate'),
    ('user_account', 'end_sessions'), ('user_account', 'follow_email')) e (rel, name)
  where not exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('grantgate.' || e.rel) and t.tgname = e.name and t.tgenabled = 'A')
$$;

-- As before; of sessions a sidecar reads what it judges by, and nothing of passwords and links.
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
    grant select (hash, tenant, user_id, actor, expires) on grantgate.session to grantgate_reader;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers() to grantgate_reader;
  end if;
  if to_regrole('grantgate_writer') is not null then
    grant usage on schema grantgate to grantgate_writer;
    grant select, insert, update, delete on grantgate.object, grantgate.user_account, grantgate.customer, grantgate.role,
      grantgate.membership, grantgate.group_permission, grantgate.api_key, grantgate.credential, grantgate.activation, grantgate.session,
      grantgate.login_attempt, grantgate.known_network to grantgate_writer;
    grant select on grantgate.audit, grantgate.change, grantgate.touched, grantgate.follower, grantgate.fleet, grantgate.lease, grantgate.migration to grantgate_writer;
    grant execute on function grantgate.revision(), grantgate.trim(interval), grantgate.report(text, bigint, text, integer),
      grantgate.barrier(bigint, text), grantgate.broken_triggers(), grantgate.touch(text, text[]), grantgate.write_audit(jsonb), grantgate.log_in_name(text) to grantgate_writer;
  end if;
end $$;
revoke all on all functions in schema grantgate from public;
