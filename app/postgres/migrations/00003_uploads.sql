-- What tenants store is counted where it is written down: triggers keep
-- stored_objects in step with videos and jobs, and storage_used with
-- stored_objects, so that no program can forget to, also not the version
-- before this one. What is no longer named by any row stands in
-- removed_objects until the object store has removed it.

-- +goose Up

-- Null: the default of the service.
alter table tenants add column quota_bytes bigint check (quota_bytes >= 0);

create table storage_used (
    tenant_id uuid primary key references tenants (id) on delete cascade,
    bytes     bigint not null
);

create table stored_objects (
    key        text primary key,
    tenant_id  uuid not null references tenants (id) on delete cascade,
    bytes      bigint not null check (bytes >= 0),
    expires_at timestamptz -- of a reservation; null when a video or a job names the object
);
create index stored_objects_tenant on stored_objects (tenant_id);
create index stored_objects_expires on stored_objects (expires_at) where expires_at is not null;

-- Uploads that clients send to the object store themselves. The id becomes the
-- video's.
create table uploads (
    id           uuid primary key,
    tenant_id    uuid not null,
    project_id   uuid not null,
    key          text not null,
    multipart_id text not null,
    filename     text not null,
    content_type text not null,
    bytes        bigint not null check (bytes > 0),
    part_bytes   bigint not null check (part_bytes > 0),
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade
);
create index uploads_project on uploads (tenant_id, project_id);
create index uploads_expires on uploads (expires_at);

-- No reference to tenants: it outlives them. A row stays for a day after its
-- object is gone, so that an upload that ends late is refused.
create table removed_objects (
    key          text primary key,
    tenant_id    uuid not null,
    multipart_id text not null default '', -- a multipart upload to abort
    available_at timestamptz not null default now(),
    deleted_at   timestamptz
);
create index removed_objects_available on removed_objects (available_at) where deleted_at is null;
create index removed_objects_deleted on removed_objects (deleted_at) where deleted_at is not null;

-- +goose StatementBegin
create function stored_objects_changed() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into storage_used as u (tenant_id, bytes)
            select tenant_id, sum(bytes) from added group by tenant_id
            on conflict (tenant_id) do update set bytes = u.bytes + excluded.bytes;
    elsif tg_op = 'UPDATE' then
        update storage_used u set bytes = u.bytes + d.bytes
            from (select a.tenant_id, sum(a.bytes - g.bytes) as bytes from added a join gone g using (key) group by a.tenant_id) d
            where u.tenant_id = d.tenant_id and d.bytes <> 0;
    else
        update storage_used u set bytes = u.bytes - d.bytes
            from (select tenant_id, sum(bytes) as bytes from gone group by tenant_id) d
            where u.tenant_id = d.tenant_id;
        insert into removed_objects (key, tenant_id) select key, tenant_id from gone on conflict do nothing;
    end if;
    return null;
end
$$;
-- +goose StatementEnd
create trigger stored_objects_inserted after insert on stored_objects
    referencing new table as added for each statement execute function stored_objects_changed();
create trigger stored_objects_updated after update on stored_objects
    referencing old table as gone new table as added for each statement execute function stored_objects_changed();
create trigger stored_objects_deleted after delete on stored_objects
    referencing old table as gone for each statement execute function stored_objects_changed();

-- A multipart upload whose row goes without becoming a video has to be aborted.
-- +goose StatementBegin
create function uploads_deleted() returns trigger language plpgsql as $$
begin
    insert into removed_objects (key, tenant_id, multipart_id)
        select key, tenant_id, multipart_id from gone g
        where not exists (select from videos v where v.id = g.id)
        on conflict (key) do update set multipart_id = excluded.multipart_id, available_at = now(), deleted_at = null;
    delete from stored_objects s using gone g where s.key = g.key and s.expires_at is not null;
    return null;
end
$$;
-- +goose StatementEnd
create trigger uploads_deleted after delete on uploads
    referencing old table as gone for each statement execute function uploads_deleted();

-- The new row names an object: its reservation becomes permanent. An object
-- that was given up meanwhile is being removed and cannot be named any more:
-- that is asked last, when the locks of this transaction are held.
-- +goose StatementBegin
create function videos_inserted() returns trigger language plpgsql as $$
begin
    insert into stored_objects (key, tenant_id, bytes) select key, tenant_id, bytes from added
        on conflict (key) do update set bytes = excluded.bytes, expires_at = null;
    delete from uploads u using added a where u.id = a.id;
    if exists (select from removed_objects r join added a on r.key = a.key) then
        raise exception 'the object has been removed' using errcode = 'foreign_key_violation';
    end if;
    return null;
end
$$;
create function jobs_inserted() returns trigger language plpgsql as $$
begin
    insert into stored_objects (key, tenant_id, bytes) select source_key, tenant_id, 0 from added
        on conflict (key) do update set expires_at = null;
    if exists (select from removed_objects r join added a on r.key = a.source_key) then
        raise exception 'the object has been removed' using errcode = 'foreign_key_violation';
    end if;
    return null;
end
$$;
create function videos_deleted() returns trigger language plpgsql as $$
begin
    delete from stored_objects s using gone g where s.key = g.key;
    return null;
end
$$;
create function jobs_deleted() returns trigger language plpgsql as $$
begin
    delete from stored_objects s using gone g where s.key = g.source_key;
    insert into removed_objects (key, tenant_id)
        select r ->> 'key', g.tenant_id from gone g, jsonb_array_elements(g.renditions) r
        on conflict do nothing;
    return null;
end
$$;
-- +goose StatementEnd
create trigger videos_inserted after insert on videos
    referencing new table as added for each statement execute function videos_inserted();
create trigger videos_deleted after delete on videos
    referencing old table as gone for each statement execute function videos_deleted();
create trigger jobs_inserted after insert on jobs
    referencing new table as added for each statement execute function jobs_inserted();
create trigger jobs_deleted after delete on jobs
    referencing old table as gone for each statement execute function jobs_deleted();

-- Reserves up to p_most bytes for an object, or changes what is reserved for
-- it, and returns what was granted: at least p_least, or -1 when the quota has
-- not so much left. The tenant's row in storage_used is the lock.
-- +goose StatementBegin
create function reserve_storage(
    p_tenant uuid, p_key text, p_least bigint, p_most bigint, p_default_quota bigint, p_expires timestamptz,
    out granted bigint, out used bigint, out allowed bigint
) language plpgsql as $$
declare
    v_own bigint;
begin
    insert into storage_used (tenant_id, bytes) values (p_tenant, 0) on conflict do nothing;
    select u.bytes into used from storage_used u where u.tenant_id = p_tenant for update;
    select coalesce(t.quota_bytes, p_default_quota) into allowed from tenants t where t.id = p_tenant;
    select coalesce(max(s.bytes), 0) into v_own from stored_objects s where s.key = p_key;
    granted := least(p_most, allowed - used + v_own);
    if granted < p_least then
        granted := -1;
        return;
    end if;
    insert into stored_objects (key, tenant_id, bytes, expires_at) values (p_key, p_tenant, granted, p_expires)
        on conflict (key) do update set bytes = excluded.bytes, expires_at = excluded.expires_at;
end
$$;
-- +goose StatementEnd

-- Until now the bytes of images were written down nowhere; those stay uncounted.
insert into stored_objects (key, tenant_id, bytes)
    select key, tenant_id, bytes from videos
    union all select source_key, tenant_id, 0 from jobs
    on conflict do nothing;

-- The sweeper works for all tenants and says so in app.sweeper.
alter table storage_used enable row level security;
create policy tenant on storage_used using (tenant_id = current_tenant());
create policy sweeper on storage_used using (current_setting('app.sweeper', true) = 'on');
alter table stored_objects enable row level security;
create policy tenant on stored_objects using (tenant_id = current_tenant());
create policy sweeper on stored_objects using (current_setting('app.sweeper', true) = 'on');
alter table uploads enable row level security;
create policy tenant on uploads using (tenant_id = current_tenant());
create policy sweeper on uploads using (current_setting('app.sweeper', true) = 'on');
alter table removed_objects enable row level security;
create policy tenant on removed_objects using (tenant_id = current_tenant());
create policy sweeper on removed_objects using (current_setting('app.sweeper', true) = 'on');

grant select, insert, update, delete on storage_used, stored_objects, uploads, removed_objects to loadbearing_app;

-- +goose Down
drop trigger videos_inserted on videos;
drop trigger videos_deleted on videos;
drop trigger jobs_inserted on jobs;
drop trigger jobs_deleted on jobs;
drop table removed_objects, uploads, stored_objects, storage_used;
drop function stored_objects_changed(), uploads_deleted(), videos_inserted(), videos_deleted(), jobs_inserted(), jobs_deleted(),
    reserve_storage(uuid, text, bigint, bigint, bigint, timestamptz);
alter table tenants drop column quota_bytes;
