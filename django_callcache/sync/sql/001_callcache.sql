-- django_callcache: the remote store.
--
-- Run it in the SQL editor of Supabase, as a migration, or with psql; PostgreSQL 14 or later. It may be run
-- again: nothing that is there is lost. Every UPDATE and DELETE has a WHERE, as hosted projects demand.

-- One row: what a client has to know before it trusts what it finds here.

create table if not exists public.callcache_meta (
  id             boolean primary key default true check (id),
  schema_version int     not null default 1,
  epoch          uuid    not null default gen_random_uuid(),  -- another one after a restore: pull everything anew
  gc_seq         bigint  not null default 0,                  -- highest seq that callcache_gc removed
  gc_txid        bigint  not null default -1                  -- highest txid that callcache_changes_gc removed
);
insert into public.callcache_meta default values on conflict do nothing;
update public.callcache_meta set schema_version = 1 where schema_version < 1;

-- Cache entries.

create sequence if not exists public.callcache_entries_seq as bigint cache 1;   -- a larger cache breaks its order

create table if not exists public.callcache_entries (
  namespace  text        not null check (octet_length(namespace) between 1 and 128),
  key        text        not null check (octet_length(key) between 1 and 512),
  codec      text        not null default 'json',
  value      jsonb,                                  -- where codec is json; SQL null is the value null
  payload    text,                                   -- base64 where codec is another
  checksum   text,                                   -- hex of the bytes in the writer's cache; null after manual edits
  version    bigint      not null default 1,         -- what compare-and-set compares; +1 a write
  hlc        text collate "C" not null default '0000000000000000',  -- microseconds as 16 hex digits: order of writes.
                                                     -- Text, since numbers beyond 2^53 are rounded on their way.
  origin     text collate "C" not null default 'sql',               -- which Redis wrote it
  expires_at timestamptz,                            -- null: never
  deleted_at timestamptz,                            -- set: a tombstone
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  seq        bigint      not null default 0,         -- cursor of readers, in order of commits
  primary key (namespace, key),
  constraint callcache_entries_hlc check (hlc ~ '^[0-9a-f]{16}$'),
  constraint callcache_entries_form check (deleted_at is not null or (codec = 'json') = (payload is null))
);
create unique index if not exists callcache_entries_seq_idx on public.callcache_entries (seq);
create index if not exists callcache_entries_ns_seq_idx on public.callcache_entries (namespace, seq);
create index if not exists callcache_entries_gc_idx on public.callcache_entries (deleted_at) where deleted_at is not null;
create index if not exists callcache_entries_exp_idx on public.callcache_entries (expires_at) where expires_at is not null;

-- Sequence numbers become visible in their order: who takes some holds this lock until the commit. The
-- trigger is one of statements, so the lock comes before the locks of rows and cannot deadlock with them.

create or replace function public.callcache_entries_lock() returns trigger
language plpgsql set search_path = '' as $$
begin
  perform pg_catalog.pg_advisory_xact_lock(1667329635, 1);
  return null;
end $$;

create or replace trigger callcache_entries_lock before insert or update or delete on public.callcache_entries
for each statement execute function public.callcache_entries_lock();

-- seq and updated_at are the server's; what is written by hand, outside callcache_push, gets a version,
-- an order and an origin of its own.

create or replace function public.callcache_entries_stamp() returns trigger
language plpgsql set search_path = '' as $$
declare
  v_now bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
begin
  new.seq := nextval('public.callcache_entries_seq'::regclass);
  new.updated_at := clock_timestamp();
  if tg_op = 'INSERT' then
    if new.hlc = '0000000000000000' or new.hlc collate "C" > lpad(to_hex(v_now + 300000000), 16, '0') then
      new.hlc := lpad(to_hex(v_now), 16, '0');
    end if;
    return new;
  end if;
  new.created_at := old.created_at;
  if new.version <= old.version then
    new.version := old.version + 1;
    new.hlc := lpad(to_hex(greatest(v_now, ('x' || old.hlc)::bit(64)::bigint + 1)), 16, '0');
    if new.origin = old.origin then new.origin := 'sql'; end if;
    new.checksum := null;
  end if;
  return new;
end $$;

create or replace trigger callcache_entries_stamp before insert or update on public.callcache_entries
for each row execute function public.callcache_entries_stamp();

-- No policies: only a role that bypasses row level security gets in.

alter table public.callcache_entries enable row level security;
alter table public.callcache_meta    enable row level security;

-- Compare-and-set of a batch in one round trip. A row is a JSON object:
--   k key, c codec, v value or p payload, s checksum, h hlc, ttl milliseconds left (none: never expires),
--   d deleted, b version of the row that this write builds on (0: of none)
-- and turns up in exactly one list of the reply:
--   applied    [key, version, seq, hlc]; also a row that is here already, from the same origin and hlc
--   conflicts  the row that is here, as an object; only k, and ver null, where b names a row that is gone
--   rejected   [key, reason]
-- Readers whose cursor is "after" need not pull what this call wrote: they may go on from "next". Null where
-- the transaction may not see the newest rows.
-- p_mode: cas; lww, the larger (hlc, origin) stays; force, whatever is here is replaced.

create or replace function public.callcache_push(p_namespace text, p_origin text, p_rows jsonb, p_mode text default 'cas')
returns jsonb
language plpgsql
security invoker
set search_path = ''
set lock_timeout = '5s'
as $$
declare
  v_latest text := lpad(to_hex((extract(epoch from clock_timestamp() + interval '5 minutes') * 1000000)::bigint), 16, '0');
  v_applied jsonb; v_conflicts jsonb; v_rejected jsonb;
  v_epoch uuid; v_after bigint; v_next bigint;
begin
  if p_mode is null or p_mode not in ('cas', 'lww', 'force') then
    raise exception 'callcache_push: unknown mode %', p_mode using errcode = '22023';
  end if;
  if jsonb_typeof(p_rows) = 'string' then    -- @supabase/lite 0.10.0 encodes JSON arguments twice
    p_rows := (p_rows #>> '{}')::jsonb;
  end if;
  if jsonb_typeof(p_rows) is distinct from 'array' then
    raise exception 'callcache_push: p_rows must be an array' using errcode = '22023';
  end if;
  perform pg_catalog.pg_advisory_xact_lock(1667329635, 1);
  select m.epoch, greatest(m.gc_seq, coalesce((select max(seq) from public.callcache_entries), 0))
    into v_epoch, v_after from public.callcache_meta m;

  with inp as materialized (
    select distinct on (r.k) r.k, coalesce(r.c, 'json') as c, r.v, r.p, r.s, coalesce(r.b, 0) as b,
           coalesce(r.h, '0000000000000000') as h, r.ttl, coalesce(r.d, false) as d,
           case
             when r.k is null or octet_length(r.k) not between 1 and 512 then 'the key is empty or longer than 512 bytes'
             when coalesce(r.h, '') !~ '^[0-9a-f]{16}$' then 'hlc is not 16 hex digits'
             when r.h collate "C" > v_latest then 'the clock of the writer is more than 5 minutes ahead'
             when r.d is not true and (coalesce(r.c, 'json') = 'json') <> (r.p is null) then 'codec and payload do not match'
           end as refusal
    from jsonb_to_recordset(p_rows) as r(k text, c text, v jsonb, p text, s text, b bigint, h text, ttl bigint, d boolean)
    order by r.k, r.h collate "C" desc
  ), up as (
    insert into public.callcache_entries as t
      (namespace, key, codec, value, payload, checksum, version, hlc, origin, expires_at, deleted_at)
    select p_namespace, i.k, case when i.d then 'json' else i.c end,
           case when not i.d and i.c = 'json' then i.v end, case when not i.d then i.p end, i.s, i.b + 1, i.h, p_origin,
           -- A hundred years at most: beyond, it would leave the range of a timestamp.
           case when i.ttl is not null
                then clock_timestamp() + make_interval(secs => least(greatest(i.ttl, -3155760000000), 3155760000000) / 1000.0) end,
           case when i.d then clock_timestamp() end
    from inp i
    where i.refusal is null
      and (p_mode <> 'cas' or i.b = 0
           or exists (select 1 from public.callcache_entries e where e.namespace = p_namespace and e.key = i.k))
    order by i.k
    on conflict (namespace, key) do update set
      codec = excluded.codec, value = excluded.value, payload = excluded.payload, checksum = excluded.checksum,
      version = t.version + 1, hlc = excluded.hlc, origin = excluded.origin,
      expires_at = excluded.expires_at, deleted_at = excluded.deleted_at
    where case p_mode
            when 'cas' then t.version = excluded.version - 1
            when 'lww' then (excluded.hlc, excluded.origin) > (t.hlc, t.origin)
            else (excluded.hlc, excluded.origin) <> (t.hlc, t.origin)
          end
    returning t.key, t.version, t.seq, t.hlc
  ), rest as (
    -- The table as it was before this statement, which is as it is now for rows that were not written.
    select i.k, t.*, (t.origin = p_origin and t.hlc = i.h) as dup
    from inp i
    left join public.callcache_entries t on t.namespace = p_namespace and t.key = i.k
    -- Hashed; "not exists" is estimated to be small and compares every row with every other.
    where i.refusal is null and i.k not in (select up.key from up)
  )
  select (select coalesce(jsonb_agg(jsonb_build_array(x.key, x.version, x.seq, x.hlc) order by x.key), '[]'::jsonb)
            from (select key, version, seq, hlc from up
                  union all select k, version, seq, hlc from rest where dup) x),
         (select coalesce(jsonb_agg(case when r.version is null then jsonb_build_object('k', r.k, 'ver', null)
                    else jsonb_build_object('k', r.k, 'ver', r.version, 'h', r.hlc, 'o', r.origin, 'c', r.codec, 'v', r.value,
                         'p', r.payload, 's', r.checksum, 'seq', r.seq, 'd', r.deleted_at is not null,
                         'ttl', (extract(epoch from r.expires_at - clock_timestamp()) * 1000)::bigint) end order by r.k), '[]'::jsonb)
            from rest r where r.dup is not true),
         (select coalesce(jsonb_agg(jsonb_build_array(i.k, i.refusal)), '[]'::jsonb) from inp i where i.refusal is not null),
         (select max(seq) from up)
    into v_applied, v_conflicts, v_rejected, v_next;
  if current_setting('transaction_isolation') <> 'read committed' then
    v_after := null;
  end if;
  return jsonb_build_object('applied', v_applied, 'conflicts', v_conflicts, 'rejected', v_rejected,
                            'epoch', v_epoch, 'after', v_after, 'next', greatest(v_after, v_next),
                            'now_ms', (extract(epoch from clock_timestamp()) * 1000)::bigint);
end $$;

-- What changed after a cursor, a page at a time; "reset" tells a reader to begin again at 0. A page ends at
-- p_limit rows, or when its values exceed p_bytes as they are stored; one row comes whatever its size.

create or replace function public.callcache_pull(
  p_namespace text, p_after bigint, p_limit int default 500, p_epoch uuid default null, p_bytes bigint default 4194304)
returns jsonb
language sql
stable
security invoker
set search_path = ''
as $$
  with m as (select epoch, gc_seq from public.callcache_meta),
  candidates as (
    select e.* from public.callcache_entries e
    where e.namespace = p_namespace and e.seq > p_after
    order by e.seq limit greatest(1, least(p_limit, 1000))
  ), sized as (
    select c.*, sum(coalesce(pg_column_size(c.value), 0) + coalesce(octet_length(c.payload), 0))
                  over (order by c.seq rows between unbounded preceding and 1 preceding) as bytes_before
    from candidates c
  ), page as (select * from sized where coalesce(bytes_before, 0) < p_bytes),
  filled as (
    select (select count(*) from candidates) = greatest(1, least(p_limit, 1000))
           or (select count(*) from page) < (select count(*) from candidates) as yes
  )
  select jsonb_build_object(
    'epoch', m.epoch,
    'reset', (p_epoch is not null and p_epoch <> m.epoch)                          -- recreated, or restored by the book
             or (p_after > 0 and p_after < m.gc_seq)                               -- tombstones after the cursor are gone
             or p_after > (select last_value from public.callcache_entries_seq),   -- restored from an older backup
    -- The last page moves the cursor to the newest seq of all namespaces, so a quiet one never falls behind gc_seq.
    'next', case when (select yes from filled) then (select max(seq) from page)
                 else greatest(p_after, m.gc_seq, coalesce((select max(seq) from public.callcache_entries), 0)) end,
    'more', (select yes from filled),
    'now_ms', (extract(epoch from clock_timestamp()) * 1000)::bigint,
    'rows', coalesce((select jsonb_agg(jsonb_build_object('k', key, 'ver', version, 'h', hlc, 'o', origin, 'c', codec, 'v', value,
               'p', payload, 's', checksum, 'seq', seq, 'd', deleted_at is not null,
               'ttl', (extract(epoch from expires_at - clock_timestamp()) * 1000)::bigint) order by seq) from page), '[]'::jsonb))
  from m
$$;

-- Some rows by their keys, those of them that are there: a JSON array of objects as in a pull.

create or replace function public.callcache_fetch(p_namespace text, p_keys jsonb) returns jsonb
language plpgsql stable security invoker set search_path = '' as $$
begin
  if jsonb_typeof(p_keys) = 'string' then    -- as in callcache_push
    p_keys := (p_keys #>> '{}')::jsonb;
  end if;
  return (
    select coalesce(jsonb_agg(jsonb_build_object('k', e.key, 'ver', e.version, 'h', e.hlc, 'o', e.origin, 'c', e.codec, 'v', e.value,
             'p', e.payload, 's', e.checksum, 'seq', e.seq, 'd', e.deleted_at is not null,
             'ttl', (extract(epoch from e.expires_at - clock_timestamp()) * 1000)::bigint)), '[]'::jsonb)
    from public.callcache_entries e
    where e.namespace = p_namespace and e.key in (select jsonb_array_elements_text(p_keys)));
end $$;

-- Remove tombstones and rows long expired, some at a time; returns how many.

create or replace function public.callcache_gc(p_keep interval default interval '7 days', p_limit int default 5000)
returns bigint language plpgsql security invoker set search_path = '' as $$
declare
  v_max bigint; v_n bigint;
begin
  perform pg_catalog.pg_advisory_xact_lock(1667329635, 1);
  with dead as (
    select namespace, key from public.callcache_entries
    where deleted_at < now() - p_keep or expires_at < now() - p_keep
    order by seq limit p_limit
  ), del as (
    delete from public.callcache_entries e using dead d where e.namespace = d.namespace and e.key = d.key returning e.seq
  ) select max(seq), count(*) into v_max, v_n from del;
  if v_n > 0 then
    update public.callcache_meta set gc_seq = greatest(gc_seq, v_max) where id;
  end if;
  return v_n;
end $$;

-- Whose a namespace is: who comes first leaves its mark, others are told whose it is and keep away. p_marks:
-- by what the caller is known, separated by commas; the first is put there, the others were its earlier ones.

create table if not exists public.callcache_environments (
  namespace  text        primary key,
  mark       text        not null,
  claimed_at timestamptz not null default now()
);
alter table public.callcache_environments enable row level security;

create or replace function public.callcache_claim(p_namespace text, p_marks text, p_take_over boolean default false)
returns text language plpgsql security invoker set search_path = '' as $$
declare
  v_marks text[] := string_to_array(p_marks, ',');
begin
  insert into public.callcache_environments as e (namespace, mark) values (p_namespace, v_marks[1])
  on conflict (namespace) do update set mark = excluded.mark, claimed_at = now()
  where e.mark <> excluded.mark and (p_take_over or e.mark = any (v_marks));
  return (select mark from public.callcache_environments where namespace = p_namespace);
end $$;

-- Changes of business tables: callcache_attach makes a table report the keys of its changed rows. Writers
-- of these tables take no common lock; readers see only transactions older than every open one.

create table if not exists public.callcache_changes (
  txid   bigint      not null default (pg_current_xact_id()::text::bigint),
  seq    bigint      generated always as identity,
  source text        not null,                        -- schema.table
  key    text        not null,                        -- the column; * after TRUNCATE
  pk     text        not null,                        -- what it held; * after TRUNCATE
  op     "char"      not null,                        -- I U D T
  at     timestamptz not null default clock_timestamp(),
  primary key (txid, seq)
);
create index if not exists callcache_changes_at_idx on public.callcache_changes (at);
alter table public.callcache_changes enable row level security;

-- SECURITY DEFINER, so that the roles that write business tables need no right here. The arguments are the
-- columns that keys are made of; one that is gone or null is passed over: it must not make a write fail.

create or replace function public.callcache_track_row() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_source text := tg_table_schema || '.' || tg_table_name;
begin
  if tg_op = 'TRUNCATE' then
    insert into public.callcache_changes (source, key, pk, op) values (v_source, '*', '*', 'T');
  elsif tg_op = 'DELETE' then
    insert into public.callcache_changes (source, key, pk, op)
      select v_source, k, to_jsonb(o) ->> k, 'D' from old_rows o, unnest(tg_argv) k where to_jsonb(o) ->> k is not null;
  elsif tg_op = 'INSERT' then
    insert into public.callcache_changes (source, key, pk, op)
      select v_source, k, to_jsonb(n) ->> k, 'I' from new_rows n, unnest(tg_argv) k where to_jsonb(n) ->> k is not null;
  else
    insert into public.callcache_changes (source, key, pk, op)
      select v_source, x.k, x.pk, 'U'::"char"
      from (select k, to_jsonb(n) ->> k as pk from new_rows n, unnest(tg_argv) k
            union select k, to_jsonb(o) ->> k from old_rows o, unnest(tg_argv) k) x
      where x.pk is not null;
  end if;
  return null;
end $$;

-- All columns at once: attaching again replaces them.

create or replace function public.callcache_attach(p_table regclass, variadic p_keys text[] default array['id'])
returns void language plpgsql security invoker set search_path = '' as $$
declare
  v_key text;
  v_keys text := '';
begin
  foreach v_key in array p_keys loop
    if not exists (select 1 from pg_catalog.pg_attribute a
                   where a.attrelid = p_table and a.attname = v_key and a.attnum > 0 and not a.attisdropped) then
      raise exception 'callcache_attach: % has no column %', p_table, v_key using errcode = '42703';
    end if;
    v_keys := v_keys || case when v_keys = '' then '' else ', ' end || quote_literal(v_key);
  end loop;
  execute format('create or replace trigger callcache_ins after insert on %s referencing new table as new_rows '
                 'for each statement execute function public.callcache_track_row(%s)', p_table, v_keys);
  execute format('create or replace trigger callcache_upd after update on %s referencing new table as new_rows old table as old_rows '
                 'for each statement execute function public.callcache_track_row(%s)', p_table, v_keys);
  execute format('create or replace trigger callcache_del after delete on %s referencing old table as old_rows '
                 'for each statement execute function public.callcache_track_row(%s)', p_table, v_keys);
  execute format('create or replace trigger callcache_trn after truncate on %s '
                 'for each statement execute function public.callcache_track_row(%s)', p_table, v_keys);
end $$;

create or replace function public.callcache_detach(p_table regclass) returns void
language plpgsql security invoker set search_path = '' as $$
declare
  v_name text;
begin
  foreach v_name in array array['callcache_ins', 'callcache_upd', 'callcache_del', 'callcache_trn'] loop
    execute format('drop trigger if exists %I on %s', v_name, p_table);
  end loop;
end $$;

-- Which columns of which tables report: [schema.table, column] each.

create or replace function public.callcache_attached() returns jsonb
language sql stable security invoker set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_array(n.nspname || '.' || c.relname, a.attname)
                            order by n.nspname, c.relname, a.attname), '[]'::jsonb)
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where t.tgname = 'callcache_upd' and t.tgenabled <> 'D' and not t.tgisinternal
    and a.attname = any (string_to_array(encode(t.tgargs, 'escape'), '\000'))
$$;

-- The cursor is txid:seq:epoch. Without one the reply has only the cursor to begin with: take it before
-- loading the table.

create or replace function public.callcache_feed(p_cursor text default null, p_limit int default 1000) returns jsonb
language sql stable security invoker set search_path = '' as $$
  with c as (
    select coalesce(split_part(p_cursor, ':', 1)::bigint, -1) as t, coalesce(split_part(p_cursor, ':', 2)::bigint, 0) as s,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax,
           m.epoch::text as epoch, m.gc_txid
    from public.callcache_meta m
  ), page as (
    select ch.* from public.callcache_changes ch, c
    where (ch.txid, ch.seq) > (c.t, c.s) and ch.txid < c.horizon and p_cursor is not null
    order by ch.txid, ch.seq limit greatest(1, least(p_limit, 5000))
  ), filled as (select count(*) = greatest(1, least(p_limit, 5000)) as yes from page)
  select jsonb_build_object(
    'reset', p_cursor is null or split_part(p_cursor, ':', 3) <> c.epoch or c.t > c.xmax or c.t < c.gc_txid,
    -- A full page stops at its last row; else everything below the horizon was read and the cursor moves there.
    'cursor', case when (select yes from filled)
                   then (select txid::text || ':' || seq::text from page order by txid desc, seq desc limit 1)
                   else greatest(c.t, c.horizon - 1)::text || ':9223372036854775807' end || ':' || c.epoch,
    'more', (select yes from filled),
    'rows', coalesce((select jsonb_agg(jsonb_build_array(source, key, pk, op) order by txid, seq) from page), '[]'::jsonb))
  from c
$$;

create or replace function public.callcache_changes_gc(p_keep interval default interval '1 day', p_limit int default 50000)
returns bigint language plpgsql security invoker set search_path = '' as $$
declare
  v_max bigint; v_n bigint;
begin
  with dead as (
    select txid, seq from public.callcache_changes where at < now() - p_keep order by txid, seq limit p_limit
  ), del as (
    delete from public.callcache_changes c using dead d where c.txid = d.txid and c.seq = d.seq returning c.txid
  ) select max(txid), count(*) into v_max, v_n from del;
  if v_n > 0 then
    update public.callcache_meta set gc_txid = greatest(gc_txid, v_max) where id;
  end if;
  return v_n;
end $$;

-- Which tables browsers may reach; empty: none. Rights alone open nothing: row level security has to be off,
-- or to have a policy.

create or replace function public.callcache_exposed()
returns text language sql stable security invoker set search_path = '' as $$
  select coalesce(string_agg(r.rolname || ' may reach ' || c.relname, ', ' order by r.rolname, c.relname), '')
  from pg_catalog.pg_class c, pg_catalog.pg_roles r
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname like 'callcache\_%'
    and r.rolname in ('anon', 'authenticated')
    and pg_catalog.has_table_privilege(r.oid, c.oid, 'select, insert, update, delete')
    and (not c.relrowsecurity or exists (select 1 from pg_catalog.pg_policy p where p.polrelid = c.oid))
$$;

-- Rights: the service role's only. Hosted projects grant nothing on new tables, and much on older ones.

do $$
declare
  v_functions text := 'public.callcache_push(text, text, jsonb, text), public.callcache_pull(text, bigint, int, uuid, bigint), '
    'public.callcache_gc(interval, int), public.callcache_claim(text, text, boolean), public.callcache_exposed(), public.callcache_feed(text, int), public.callcache_changes_gc(interval, int), '
    'public.callcache_attached(), public.callcache_fetch(text, jsonb)';
  v_internal text := 'public.callcache_entries_lock(), public.callcache_entries_stamp(), public.callcache_track_row(), '
    'public.callcache_attach(regclass, text[]), public.callcache_detach(regclass)';
  v_role text;
begin
  execute 'revoke execute on function ' || v_functions || ', ' || v_internal || ' from public';
  for v_role in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.callcache_entries, public.callcache_meta, public.callcache_changes, public.callcache_environments from %I', v_role);
    execute format('revoke all on sequence public.callcache_entries_seq from %I', v_role);
    execute 'revoke execute on function ' || v_functions || ', ' || v_internal || format(' from %I', v_role);
  end loop;
  if exists (select 1 from pg_catalog.pg_roles where rolname = 'service_role') then
    grant select, insert, update, delete on public.callcache_entries to service_role;
    grant select, update on public.callcache_meta to service_role;
    grant select, insert, update, delete on public.callcache_environments to service_role;
    grant select, delete on public.callcache_changes to service_role;
    grant usage, select on sequence public.callcache_entries_seq to service_role;
    execute 'grant execute on function ' || v_functions || ' to service_role';
  end if;
end $$;

notify pgrst, 'reload schema';
