package lint

import (
	"fmt"
	"regexp"
	"strings"
)

// alteration is one command of ALTER TABLE on a table that is in use.
type alteration struct {
	statement
	file   *file
	table  string
	column string
	clause string         // as written
	def    map[string]any // its definition
}

func (a alteration) finding(rule, why string, safe ...Step) {
	a.file.finding(a.statement, rule, why, safe...)
}

// alter is a migration of one ALTER TABLE.
func (a alteration) alter(what string, contract bool, commands ...string) Step {
	lines := make([]string, len(commands))
	for i, c := range commands {
		lines[i] = fmt.Sprintf("alter table %s %s;", a.table, c)
	}
	return a.file.step(what, contract, strings.Join(lines, "\n"))
}

func (a alteration) judge(kind string) {
	f := a.file
	switch kind {
	case "AT_ColumnDefault", "AT_DropNotNull", "AT_SetStatistics", "AT_SetOptions", "AT_SetRelOptions", "AT_ResetRelOptions", "AT_SetStorage":
	case "AT_AddColumn":
		a.addColumn(object(a.def["ColumnDef"]))
	case "AT_DropColumn":
		if !f.contracts() {
			a.finding("drop-column", "The running version reads and writes the column. Drop it when that has gone.", a.alter("", true, a.clause))
		}
		delete(f.types, a.table+"."+a.column)
	case "AT_AlterColumnType":
		to := typeName(object(a.def["ColumnDef"])["typeName"])
		a.finding("column-type", "A change of type rewrites the table under an ACCESS EXCLUSIVE lock, and the running version knows the old type. Fill a second column instead.",
			f.replaceColumn(a.table, a.column, a.column+"_new", to)...)
	case "AT_SetNotNull":
		a.setNotNull()
	case "AT_AddConstraint":
		a.addConstraint(object(a.def["Constraint"]))
	case "AT_ValidateConstraint":
		if column, found := f.present[a.table+"."+a.column]; found {
			f.valid[column] = true
		}
	case "AT_DropConstraint":
		delete(f.valid, f.present[a.table+"."+a.column])
		if !f.contracts() {
			a.finding("drop-constraint", "The running version may rely on the constraint: ON CONFLICT names a unique one. Drop it when that has gone.", a.alter("", true, a.clause))
		}
	case "AT_EnableRowSecurity", "AT_ForceRowSecurity":
		if !f.contracts() {
			a.finding("row-security", "Rows that no policy admits vanish from the running version. Turn it on when that has gone.", a.alter("", true, a.clause))
		}
	case "AT_DisableRowSecurity", "AT_NoForceRowSecurity":
		a.finding("row-security", "Row-level security is the wall between tenants. It stays; add a policy for who may see more.")
	case "AT_SetTableSpace", "AT_SetLogged", "AT_SetUnLogged", "AT_SetAccessMethod":
		a.finding("heavy-lock", "It rewrites the table under an ACCESS EXCLUSIVE lock. pg_repack moves a table while it is used.")
	default:
		a.finding("unknown", "This check does not know what "+kind+" locks, or what it takes from the running version. Teach it, with a test.")
	}
}

// Constraints of a new column that every row has to be looked at for.
var looks = map[string]string{
	"CONSTR_CHECK":   "A check of a new column looks at every row under an ACCESS EXCLUSIVE lock.",
	"CONSTR_FOREIGN": "A reference of a new column keeps writes to both tables waiting while every row is looked at.",
	"CONSTR_UNIQUE":  "A unique column builds its index under an ACCESS EXCLUSIVE lock.",
	"CONSTR_PRIMARY": "A new primary key builds its index under an ACCESS EXCLUSIVE lock.",
}

func (a alteration) addColumn(column map[string]any) {
	f, name, typ := a.file, text(column["colname"]), typeName(column["typeName"])
	a.column = name
	f.types[a.table+"."+name], f.made[a.table+"."+name] = typ, true
	add := "add column " + name + " " + typ
	notNull, hasDefault := false, false
	for _, each := range list(column["constraints"]) {
		constraint := object(each, "Constraint")
		kind := text(constraint["contype"])
		switch kind {
		case "CONSTR_NOTNULL":
			notNull = true
		case "CONSTR_DEFAULT":
			hasDefault = true
			if call := volatile(constraint["raw_expr"]); call != "" {
				value := expression(a.clause)
				a.finding("volatile-default", call+" may differ from row to row: such a default rewrites the table under an ACCESS EXCLUSIVE lock. Rows to come get it, and those that are there in batches.",
					a.alter("column", false, add, "alter column "+name+" set default "+value),
					f.batches("backfill", a.table, fmt.Sprintf("update %s set %s = %s", a.table, name, value), name+" is null"))
			}
		case "CONSTR_IDENTITY", "CONSTR_GENERATED":
			a.finding("column-rewrite", "A column that PostgreSQL fills rewrites the table under an ACCESS EXCLUSIVE lock. Add a plain one, have a trigger or the program fill it, and the rows that are there in batches.",
				a.alter("", false, add))
		case "CONSTR_CHECK", "CONSTR_FOREIGN", "CONSTR_UNIQUE", "CONSTR_PRIMARY":
			why := looks[kind]
			if kind == "CONSTR_CHECK" && columnCheck.MatchString(a.clause) {
				check := balanced(a.clause[columnCheck.FindStringIndex(a.clause)[1]-1:])
				id := a.id(name, "check")
				a.finding("column-constraint", why+" The running version does not write the column, so the check may come with it, not valid until later.",
					a.alter("", false, add, "add constraint "+id+" check "+check+" not valid"), a.alter("validate", false, "validate constraint "+id))
				break
			}
			a.finding("column-constraint", why+" Add the plain column, and the constraint as a migration of its own.", a.alter("", false, add))
		}
	}
	if strings.HasSuffix(strings.ToLower(typ), "serial") {
		sequence := a.table + "_" + name + "_seq"
		step := a.alter("", false, "add column "+name+" bigint", "alter column "+name+" set default nextval('"+sequence+"')")
		step.SQL = strings.Replace(step.SQL, "-- +goose Up\n", "-- +goose Up\ncreate sequence "+sequence+";\n", 1)
		a.finding("volatile-default", "A serial column rewrites the table under an ACCESS EXCLUSIVE lock. Rows to come get a number, and those that are there in batches.", step,
			f.batches("backfill", a.table, fmt.Sprintf("update %s set %s = nextval('%s')", a.table, name, sequence), name+" is null"))
	}
	if notNull && !hasDefault {
		a.finding("not-null", "The rows that are there have no value, nor has the running version when it inserts. Give them one: a constant default costs nothing (PostgreSQL 11 and newer). "+
			"When every version writes the column, the default may go.",
			a.alter("", false, add+" not null default "+zero(typ)), a.alter("default", true, "alter column "+name+" drop default"))
	}
}

// zero is a value of a type, for people to replace.
func zero(typ string) string {
	switch {
	case strings.HasSuffix(typ, "[]"), strings.HasPrefix(typ, "json"):
		return "'{}'"
	case strings.HasPrefix(typ, "int") || strings.HasPrefix(typ, "float") || strings.HasPrefix(typ, "numeric"):
		return "0"
	case typ == "bool":
		return "false"
	case strings.HasPrefix(typ, "timestamp") || typ == "date":
		return "'epoch'"
	case typ == "uuid":
		return "'00000000-0000-0000-0000-000000000000'"
	}
	return "''"
}

var columnCheck = regexp.MustCompile(`(?is)\bcheck\s*\(`)

// id is a name for a constraint.
func (a alteration) id(column, suffix string) string {
	return strings.ReplaceAll(a.table, ".", "_") + "_" + column + "_" + suffix
}

// forbidNull are the contracting migrations that come to SET NOT NULL: the
// validation looks at every row while they are used, and PostgreSQL (12 and newer)
// takes it for proof.
func (a alteration) forbidNull() []Step {
	id := a.id(a.column, "present")
	return []Step{
		a.alter("present", true, fmt.Sprintf("add constraint %s check (%s is not null) not valid", id, a.column)),
		a.alter("not_null", true, "validate constraint "+id, "alter column "+a.column+" set not null", "drop constraint "+id),
	}
}

func (a alteration) setNotNull() {
	f := a.file
	switch {
	case !f.contracts():
		a.finding("not-null", "The running version may write null. Forbid it when that has gone, with a check that is validated first: SET NOT NULL alone looks at every row under an ACCESS EXCLUSIVE lock.",
			a.forbidNull()...)
	case !f.valid[a.table+"."+a.column]:
		a.finding("not-null", "SET NOT NULL looks at every row under an ACCESS EXCLUSIVE lock, unless a valid check says that the column is not null.", a.forbidNull()...)
	}
}

func (a alteration) addConstraint(constraint map[string]any) {
	f, kind, name := a.file, text(constraint["contype"]), text(constraint["conname"])
	clause, columns := a.clause, fields(constraint)
	if name == "" {
		name = a.id(strings.Join(columns, "_"), map[string]string{"CONSTR_CHECK": "check", "CONSTR_FOREIGN": "fkey"}[kind])
		if len(columns) == 0 || kind == "CONSTR_UNIQUE" || kind == "CONSTR_PRIMARY" {
			name = a.id(strings.Join(columns, "_"), "key")
		}
		clause = addHead.ReplaceAllString(clause, "add constraint "+name+" $1")
	}
	switch kind {
	case "CONSTR_CHECK", "CONSTR_FOREIGN":
		if column := presence(constraint); column != "" {
			f.present[a.table+"."+name] = a.table + "." + column
		}
		if !flag(constraint["skip_validation"]) {
			a.finding("constraint-validated", "Every row is looked at while the table is locked. Add the constraint not valid, when the running version, which may break it, has gone; then validate it, which locks nobody out.",
				a.alter("", true, clause+" not valid"), a.alter("validate", true, "validate constraint "+name))
			return
		}
		if !f.contracts() && !f.addedHere(a.table, columns) {
			a.finding("constraint-in-expand", "NOT VALID spares the rows that are there, not what the running version writes. Forbid it when that has gone.",
				a.alter("", true, clause), a.alter("validate", true, "validate constraint "+name))
		}
	case "CONSTR_UNIQUE", "CONSTR_PRIMARY":
		if text(constraint["indexname"]) != "" {
			if !f.contracts() {
				a.finding("unique-in-expand", "The running version may write what the constraint refuses.", a.alter("", true, clause))
			}
			return
		}
		using := "unique"
		if kind == "CONSTR_PRIMARY" {
			using = "primary key"
		}
		index := f.concurrently(name, fmt.Sprintf("create unique index concurrently %s on %s (%s)", name, a.table, strings.Join(columns, ", ")), true)
		a.finding("constraint-builds-index", "The constraint builds its index under an ACCESS EXCLUSIVE lock, and the running version may write what it refuses. Build the index first.",
			index, a.alter("using_index", true, fmt.Sprintf("add constraint %s %s using index %s", name, using, name)))
	default:
		a.finding("constraint-validated", "An exclusion constraint looks at every row under an ACCESS EXCLUSIVE lock and has no other form. Fill a new table that has it.")
	}
}

var addHead = regexp.MustCompile(`(?is)^add\s+(check|foreign|unique|primary)\b`)

// addedHere tells whether every column of a constraint is added by the same
// migration, so that no version writes it yet.
func (f *file) addedHere(table string, columns []string) bool {
	for _, column := range columns {
		if !f.made[table+"."+column] {
			return false
		}
	}
	return len(columns) > 0
}

// fields are the columns a constraint is about.
func fields(constraint map[string]any) []string {
	var all []string
	for _, key := range []string{"keys", "fk_attrs"} {
		for _, each := range list(constraint[key]) {
			all = append(all, text(object(each, "String")["sval"]))
		}
	}
	find(constraint["raw_expr"], "ColumnRef", func(ref map[string]any) {
		if name := names(ref["fields"]); name != "" {
			all = append(all, name)
		}
	})
	return all
}

// presence is the column that CHECK (column IS NOT NULL) is about, or empty.
func presence(constraint map[string]any) string {
	test := object(constraint["raw_expr"], "NullTest")
	if text(test["nulltesttype"]) != "IS_NOT_NULL" {
		return ""
	}
	return names(object(test["arg"], "ColumnRef")["fields"])
}

// stable functions have one value in a transaction: a default of them is
// evaluated once, and not for each row.
var stable = map[string]bool{
	"now": true, "transaction_timestamp": true, "statement_timestamp": true, "current_setting": true, "lower": true, "upper": true,
	"timezone": true, "date_trunc": true, "make_interval": true, "jsonb_build_object": true, "jsonb_build_array": true, "to_jsonb": true,
}

// volatile returns the first function of an expression that is not known to have
// one value, or nothing.
func volatile(expr any) string {
	found := ""
	find(expr, "FuncCall", func(call map[string]any) {
		if name := names(call["funcname"]); !stable[name] {
			found = name + "()"
		}
	})
	return found
}

var defaultWord = regexp.MustCompile(`(?is)\bdefault\s+`)

// expression is the default of a column as written: up to the next word that
// can follow one.
func expression(clause string) string {
	at := defaultWord.FindStringIndex(clause)
	if at == nil {
		return "null"
	}
	rest := clause[at[1]:]
	if open := strings.IndexByte(rest, '('); open >= 0 {
		return rest[:open] + balanced(rest[open:])
	}
	return rest
}

// balanced is text from its opening to the matching closing parenthesis.
func balanced(text string) string {
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return text[:i+1]
			}
		}
	}
	return text
}

// replaceColumn are the migrations that bring a column under another name or
// type while both are used.
func (f *file) replaceColumn(table, old, column, typ string) []Step {
	trigger := strings.ReplaceAll(table, ".", "_") + "_" + column + "_follows"
	return []Step{
		f.step("column", false, fmt.Sprintf(`alter table %[1]s add column %[3]s %[4]s;
-- Whichever of the two a version writes, the other follows.
-- +goose StatementBegin
create function %[5]s() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.%[3]s is null then
            new.%[3]s := new.%[2]s;
        else
            new.%[2]s := new.%[3]s;
        end if;
    elsif new.%[3]s is distinct from old.%[3]s then
        new.%[2]s := new.%[3]s;
    else
        new.%[3]s := new.%[2]s;
    end if;
    return new;
end
$$;
-- +goose StatementEnd
create trigger %[5]s before insert or update on %[1]s for each row execute function %[5]s();`, table, old, column, typ, trigger)),
		// Any update has the trigger fill the new column.
		f.batches("backfill", table, fmt.Sprintf("update %[1]s set %[2]s = %[2]s", table, old), column+" is null"),
		f.step("", true, fmt.Sprintf(`drop trigger %[3]s on %[1]s;
drop function %[3]s();
alter table %[1]s drop column %[2]s;`, table, old, trigger)),
	}
}
