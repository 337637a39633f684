-- A job that was given up can be started again by its message, once that is
-- redriven from the dead-letter queue. It says failed like any other failed
-- job, so the version before this one goes on working. To it such a job is
-- final and a redriven message has nothing to do: redrive when it is gone.

-- +goose Up
alter table jobs add column given_up boolean not null default false;

-- +goose Down
alter table jobs drop column given_up;
