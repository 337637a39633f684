// Package postgres runs real PostgreSQL servers on the loopback interface: a
// primary and its streaming replicas, over verified TLS only, as RDS does with
// rds.force_ssl.
//
// Programs come from the machine when they are there and are fetched
// otherwise (Install). A new cluster is a copy of a template that initdb made
// once per version. A replica begins as a file copy of its running primary
// between pg_backup_start and pg_backup_stop, the base backup of PostgreSQL's
// manual, 26.3.3: it needs no pg_basebackup, which the fetched package lacks, and
// works whatever the primary already holds.
//
// PostgreSQL refuses to run as root: started by root, servers run as user
// postgres or nobody, and stand below os.TempDir when that user cannot
// reach the folder they were meant for.
package postgres
