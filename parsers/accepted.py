"""What SDH accepts of SQL, as data: nodes of sqlglot's tree with their arguments, functions, types, symbols.

Whatever is not listed here is refused by name. The second half holds the names that refusals use.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

# --- the tree ------------------------------------------------------------------------------------

_BINARY = frozenset({"this", "expression"})

ARGUMENTS: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset({"expressions", "distinct", "from_", "joins", "where", "group", "having", "order", "limit",
                           "offset", "with_"}),
    exp.Union: frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_", "by_name"}),
    **dict.fromkeys((exp.Intersect, exp.Except),
                    frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_"})),
    exp.Values: frozenset({"expressions", "alias"}),
    exp.With: frozenset({"expressions"}),
    exp.CTE: frozenset({"this", "alias", "materialized"}),  # the hint changes no answer
    exp.From: frozenset({"this"}),
    exp.Join: frozenset({"this", "on", "using", "side", "kind", "method"}),
    exp.Table: frozenset({"this", "db", "alias", "joins"}),
    exp.TableAlias: frozenset({"this", "columns"}),
    exp.Subquery: frozenset({"this", "alias", "joins"}),
    exp.Where: frozenset({"this"}),
    exp.Group: frozenset({"expressions", "all"}),
    exp.Having: frozenset({"this"}),
    exp.Order: frozenset({"expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Distinct: frozenset({"expressions"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Column: frozenset({"this", "table", "db"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Star: frozenset({"except_", "replace", "rename"}),
    **dict.fromkeys((exp.Tuple, exp.Rollup, exp.Cube, exp.GroupingSets), frozenset({"expressions"})),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Boolean: frozenset({"this"}),
    exp.Null: frozenset(),
    exp.Placeholder: frozenset({"this"}),
    exp.Interval: frozenset({"this", "unit"}),
    exp.Var: frozenset({"this"}),
    exp.Paren: frozenset({"this"}),
    exp.Neg: frozenset({"this"}),
    exp.Not: frozenset({"this"}),
    exp.Div: frozenset({"this", "expression"}),
    exp.DPipe: frozenset({"this", "expression", "safe"}),  # `safe` is sqlglot's note on the dialect
    exp.Is: _BINARY,
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    **dict.fromkeys((exp.Exists, exp.Any, exp.All), frozenset({"this"})),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.ILike: frozenset({"this", "expression", "negate"}),
    exp.Escape: _BINARY,
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.TryCast: frozenset({"this", "to", "safe"}),  # `safe` is what makes it TRY_CAST
    exp.DataType: frozenset({"this", "expressions"}),
    exp.DataTypeParam: frozenset({"this"}),
    exp.Extract: _BINARY,
    exp.Substring: frozenset({"this", "start", "length"}),
    exp.Trim: frozenset({"this", "expression", "position"}),
    exp.StrPosition: frozenset({"this", "substr"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.Filter: _BINARY,
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.IntDiv, exp.Mod, exp.And, exp.Or, exp.EQ, exp.NEQ, exp.LT,
                     exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ), _BINARY),
}

OPERATORS: Mapping[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "//", exp.Mod: "%", exp.DPipe: "||",
    exp.And: "AND", exp.Or: "OR", exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">",
    exp.GTE: ">=", exp.NullSafeNEQ: "IS DISTINCT FROM", exp.NullSafeEQ: "IS NOT DISTINCT FROM",
}

# What may not stand, without parentheses, as an operand of what: DuckDB refuses it, sqlglot does not.
PREDICATES = (exp.Between, exp.In, exp.Like, exp.ILike, exp.Escape, exp.Is)
COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
LOOSE = (exp.And, exp.Or, exp.Filter)  # what binds looser than NOT
DISTINCTNESS = (exp.NullSafeEQ, exp.NullSafeNEQ)
CHAINS: Mapping[type[exp.Expr], tuple[type[exp.Expr], ...]] = {
    **dict.fromkeys(COMPARISONS, COMPARISONS), **dict.fromkeys(DISTINCTNESS, DISTINCTNESS)}

# --- functions -----------------------------------------------------------------------------------

AGGREGATES = frozenset("""
    sum avg count count_star count_if countif min max median mode product var_samp var_pop variance stddev stddev_samp
    stddev_pop bool_and bool_or bit_and bit_or bit_xor covar_pop covar_samp corr skewness kurtosis
    quantile_cont quantile_disc quantile arg_min arg_max argmin argmax min_by max_by
    """.split())

SCALARS = frozenset("""
    abs sign round floor ceil ceiling trunc sqrt cbrt exp ln log log10 log2 pow power mod pi gcd lcm factorial even
    sin cos tan asin acos atan atan2 cot sinh cosh tanh degrees radians fmod fdiv add subtract multiply divide
    xor bit_count isnan isfinite isinf signbit
    greatest least coalesce nullif ifnull if
    lower upper lcase ucase length len strlen char_length character_length bit_length
    trim ltrim rtrim substring substr left right replace reverse repeat lpad rpad concat concat_ws
    starts_with ends_with contains prefix suffix strpos instr ascii ord unicode chr translate
    split_part regexp_matches regexp_full_match regexp_replace regexp_extract regexp_escape
    levenshtein editdist3 hamming mismatches jaccard jaro_similarity jaro_winkler_similarity strip_accents
    md5 sha1 sha256 hex to_hex bin to_binary to_base url_encode url_decode
    year month day hour minute second millisecond microsecond quarter week dayofweek dayofmonth dayofyear weekday
    weekofyear isodow isoyear yearweek decade century millennium era dayname monthname last_day days_in_month
    date_part datepart date_trunc datetrunc date_diff datediff date_sub datesub date_add strftime strptime
    try_strptime make_date make_timestamp epoch epoch_ms epoch_us epoch_ns time_bucket julian
    to_years to_months to_weeks to_days to_hours to_minutes to_seconds
    """.split())

FUNCTIONS = AGGREGATES | SCALARS

# Their answers are not functions of the data, so two owners' plans would not agree.
NOT_OF_DATA = frozenset("""
    random setseed uuid uuidv4 uuidv7 gen_random_uuid nextval currval now today current_date current_time
    current_timestamp current_localtime current_localtimestamp localtime localtimestamp get_current_time
    get_current_timestamp transaction_timestamp age ago current_user session_user user current_role current_catalog
    current_database current_schema current_schemas current_setting current_query current_connection_id
    current_transaction_id txid_current version getenv getvariable
    """.split())

ORDER_BOUND = frozenset("any_value arbitrary first last list array_agg string_agg group_concat listagg".split())

WINDOW_FUNCTIONS = frozenset("""
    row_number rank dense_rank rank_dense percent_rank cume_dist ntile lag lead first_value last_value nth_value fill
    """.split())

SPECIAL_FORMS = frozenset("""
    columns unnest struct row tuple map overlay exists any all some try cast try_cast
    """.split())

TRIMS: Mapping[str, str] = {"": "trim", "BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}

# --- types ---------------------------------------------------------------------------------------

TYPES: Mapping[exp.DType, str] = {
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.TINYINT: "TINYINT", exp.DType.SMALLINT: "SMALLINT", exp.DType.INT: "INTEGER",
    exp.DType.BIGINT: "BIGINT", exp.DType.INT128: "HUGEINT",
    exp.DType.UTINYINT: "UTINYINT", exp.DType.USMALLINT: "USMALLINT", exp.DType.UINT: "UINTEGER",
    exp.DType.UBIGINT: "UBIGINT", exp.DType.UINT128: "UHUGEINT",
    exp.DType.FLOAT: "FLOAT", exp.DType.DOUBLE: "DOUBLE",
    exp.DType.TEXT: "VARCHAR", exp.DType.VARCHAR: "VARCHAR",
    exp.DType.DATE: "DATE", exp.DType.TIME: "TIME",
    exp.DType.TIMESTAMP: "TIMESTAMP", exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
    exp.DType.TIMESTAMP_S: "TIMESTAMP_S", exp.DType.TIMESTAMP_MS: "TIMESTAMP_MS",
    exp.DType.TIMESTAMP_NS: "TIMESTAMP_NS", exp.DType.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    exp.DType.INTERVAL: "INTERVAL", exp.DType.UUID: "UUID",
}

UNITS = frozenset("""
    YEAR MONTH DAY HOUR MINUTE SECOND MILLISECOND MICROSECOND WEEK QUARTER DECADE CENTURY MILLENNIUM
    """.split())

UNIT_PLURALS: Mapping[str, str] = {unit + "S": unit for unit in UNITS - {"CENTURY", "MILLENNIUM"}} | {
    "CENTURIES": "CENTURY", "MILLENNIA": "MILLENNIUM"}

# --- tokens --------------------------------------------------------------------------------------

SYMBOLS = frozenset({
    TokenType.L_PAREN, TokenType.R_PAREN, TokenType.COMMA, TokenType.DOT, TokenType.PLUS, TokenType.DASH,
    TokenType.STAR, TokenType.SLASH, TokenType.DIV, TokenType.MOD, TokenType.DPIPE, TokenType.DCOLON, TokenType.EQ,
    TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE, TokenType.PARAMETER,
    TokenType.STRING, TokenType.NUMBER, TokenType.IDENTIFIER, TokenType.SEMICOLON,
})

REFUSED_SYMBOLS: Mapping[TokenType, tuple[str, str]] = {
    TokenType.L_BRACKET: ("A list, or an element in [ ],", ""),
    TokenType.R_BRACKET: ("A list, or an element in [ ],", ""),
    TokenType.L_BRACE: ("A struct in { }", ""),
    TokenType.R_BRACE: ("A struct in { }", ""),
    TokenType.ARROW: ("The arrow -> (lambda or JSON)", ""),
    TokenType.DARROW: ("The arrow ->> (JSON)", ""),
    TokenType.COLON: ("The colon", "Write `expression AS alias`."),
    TokenType.HASH: ("A column by its position, as in #1,", "Write the column's name."),
    TokenType.PLACEHOLDER: ("A parameter without a name (?)", "Write $name and give its value by that name."),
    TokenType.CARET: ("The operator ^", "Write pow(a, b)."),
    TokenType.DSTAR: ("The operator **", "Write pow(a, b)."),
    TokenType.AMP: ("The operator &", ""),
    TokenType.PIPE: ("The operator |", ""),
    TokenType.TILDE: ("The operator ~", "Write regexp_full_match(text, 'pattern')."),
    TokenType.HEREDOC_STRING: ("A string in $$", "Write it in single quotes."),
    TokenType.BYTE_STRING: ("A string with escapes, E'...',", "Write it in plain single quotes."),
    TokenType.NATIONAL_STRING: ("A national string, N'...',", "Write it in plain single quotes."),
    TokenType.HEX_STRING: ("A hexadecimal literal", "Write it as a decimal number."),
    TokenType.BIT_STRING: ("A bit string", ""),
}

# Reserved words of DuckDB: none can be a name without quotes, so a refusal can point at the word itself.
REFUSED_WORDS: Mapping[str, str] = {
    "QUALIFY": "QUALIFY", "WINDOW": "WINDOW", "PIVOT": "PIVOT", "PIVOT_WIDER": "PIVOT", "PIVOT_LONGER": "UNPIVOT",
    "UNPIVOT": "UNPIVOT", "INTO": "SELECT INTO",
    "LATERAL": "LATERAL", "FETCH": "FETCH", "COLLATE": "COLLATE", "TABLESAMPLE": "TABLESAMPLE",
    "RETURNING": "RETURNING", "LAMBDA": "A lambda", "SYMMETRIC": "BETWEEN SYMMETRIC",
    "ASYMMETRIC": "BETWEEN ASYMMETRIC", "ASOF": "ASOF JOIN", "POSITIONAL": "POSITIONAL JOIN", "SIMILAR": "SIMILAR TO",
    "GLOB": "GLOB", "OVERLAPS": "OVERLAPS", "PLACING": "OVERLAY", "VARIADIC": "VARIADIC",
    "ARRAY": "ARRAY", "ONLY": "ONLY",
}

# DuckDB's reserved words, which sqlglot partly takes for names.
RESERVED = frozenset("""
    all analyse analyze and anti any array as asc asymmetric both case cast check collate column constraint create
    default deferrable desc describe distinct do else end except false fetch for foreign from group having in
    initially intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer
    pivot_wider placing primary qualify references returning select semi show some summarize symmetric table then to
    trailing true union unique unpivot using variadic when where window with
    """.split())

# Words that are neither names nor reserved, and that the tree holds as a fact and not as a node.
PLAIN_WORDS = frozenset(
    "NULLS FIRST LAST MATERIALIZED LEADING TRAILING BOTH PRECISION VARYING WITHOUT TIME ZONE".split())

STATEMENTS = frozenset("""
    INSERT UPDATE DELETE MERGE CREATE DROP ALTER TRUNCATE COPY EXPORT IMPORT ATTACH DETACH USE SET RESET PRAGMA CALL
    BEGIN START COMMIT ROLLBACK ABORT END PREPARE EXECUTE DEALLOCATE INSTALL LOAD FORCE UPDATE VACUUM ANALYZE CHECKPOINT
    VALUES TABLE SUMMARIZE PIVOT PIVOT_WIDER PIVOT_LONGER UNPIVOT COMMENT GRANT REVOKE UPSERT REPLACE CONNECT DISCONNECT
    DECLARE DO LISTEN NOTIFY LOCK REFRESH SAVEPOINT RELEASE KILL
    """.split())

ADVICE: Mapping[str, str] = {
    "A window function": "Join the rows with an aggregate of them by the columns of PARTITION BY.",
    "QUALIFY": "Join the rows with their MIN or MAX by the columns of PARTITION BY.",
    "WINDOW": "Join the rows with an aggregate of them by the columns of PARTITION BY.",
    "DISTINCT ON": "Group by its columns and take MIN or MAX of the others.",
    "LATERAL": "Join with a derived table that is grouped by what correlates it.",
    "A row value (a, b)": "Write its parts one by one; combinations are counted over SELECT DISTINCT a, b.",
    "SIMILAR TO": "Write regexp_full_match(text, 'pattern').",
    "WITHIN GROUP": "Write quantile_cont(value, 0.5).",
    "COLUMNS(...)": "Name the columns, or write * EXCLUDE (...).",
    "any_value()": "Write min(...): any value of the group will do.",
}
"""What to write instead, by the refused name."""

# --- names for refusals --------------------------------------------------------------------------

NODE_NAMES: Mapping[type[exp.Expr], str] = {
    exp.Window: "A window function",
    exp.Values: "VALUES", exp.Lock: "FOR UPDATE", exp.Into: "SELECT INTO", exp.TableSample: "TABLESAMPLE",
    exp.Pivot: "PIVOT", exp.Qualify: "QUALIFY", exp.Fetch: "FETCH", exp.Exists: "EXISTS of anything but a query",
    exp.Any: "ANY at this place", exp.All: "ALL at this place",
    exp.Rollup: "ROLLUP", exp.Cube: "CUBE", exp.GroupingSets: "GROUPING SETS",
    exp.Lateral: "LATERAL", exp.Unnest: "UNNEST", exp.Columns: "COLUMNS(...)", exp.Lambda: "A lambda",
    exp.Tuple: "A row value (a, b)", exp.Array: "A list", exp.Struct: "A struct", exp.Bracket: "An element in [ ]",
    exp.Dot: "A qualified function or a name of more than three parts", exp.PropertyEQ: "A named argument",
    exp.AtTimeZone: "AT TIME ZONE", exp.Collate: "COLLATE", exp.WithinGroup: "WITHIN GROUP",
    exp.IgnoreNulls: "IGNORE NULLS", exp.RespectNulls: "RESPECT NULLS", exp.Aliases: "Several aliases at once",
    exp.PositionalColumn: "A column by its position, as in #1,", exp.IntervalSpan: "INTERVAL ... TO ...",
    exp.SimilarTo: "SIMILAR TO", exp.Glob: "GLOB", exp.Alias: "An alias at this place",
    exp.Subquery: "A subquery in an expression", exp.Select: "A subquery in an expression",
    exp.Star: "* at this place", exp.Order: "ORDER BY in a function call", exp.Limit: "LIMIT in a function call",
    exp.Distinct: "DISTINCT at this place", exp.Kwarg: "A named argument", exp.Var: "A keyword at this place",
    exp.DataType: "A type at this place", exp.Interval: "This form of INTERVAL", exp.Filter: "FILTER at this place",
    exp.BitwiseNot: "The operator ~", exp.BitwiseLeftShift: "The operator <<",
    exp.BitwiseRightShift: "The operator >>", exp.Sqrt: "The operator |/", exp.Cbrt: "The operator ||/",
    exp.Concat: "Adjacent strings",
}

ARGUMENT_NAMES: Mapping[tuple[type[exp.Expr], str], str] = {
    (exp.Select, "locks"): "FOR UPDATE", (exp.Select, "into"): "SELECT INTO", (exp.Select, "sample"): "USING SAMPLE",
    (exp.Select, "qualify"): "QUALIFY", (exp.Select, "windows"): "WINDOW", (exp.Select, "laterals"): "LATERAL",
    (exp.Select, "kind"): "SELECT AS STRUCT", (exp.Select, "exclude"): "EXCLUDE", (exp.Select, "hint"): "A hint",
    (exp.Select, "operation_modifiers"): "A modifier after SELECT", (exp.Select, "connect"): "START WITH",
    (exp.Union, "by_name"): "UNION BY NAME", (exp.Intersect, "by_name"): "INTERSECT BY NAME",
    (exp.Except, "by_name"): "EXCEPT BY NAME",
    (exp.With, "recursive"): "WITH RECURSIVE", (exp.CTE, "key_expressions"): "USING KEY",
    (exp.CTE, "scalar"): "A scalar CTE",
    (exp.Join, "method"): "This kind of JOIN", (exp.Join, "nearest"): "NEAREST JOIN",
    (exp.Table, "sample"): "TABLESAMPLE", (exp.Table, "pivots"): "PIVOT", (exp.Table, "when"): "AT (time travel)",
    (exp.Table, "version"): "AT (time travel)", (exp.Table, "catalog"): "A table name of three parts",
    (exp.Table, "ordinality"): "WITH ORDINALITY", (exp.Table, "only"): "ONLY",
    (exp.Subquery, "sample"): "TABLESAMPLE", (exp.Subquery, "pivots"): "PIVOT",
    (exp.Subquery, "with_"): "WITH before a parenthesis",
    (exp.Subquery, "limit"): "LIMIT after a parenthesis", (exp.Subquery, "offset"): "OFFSET after a parenthesis",
    (exp.Subquery, "order"): "ORDER BY after a parenthesis", (exp.Subquery, "where"): "WHERE after a parenthesis",
    (exp.Order, "this"): "ORDER BY in a function call", (exp.Limit, "this"): "LIMIT in a function call",
    (exp.Group, "rollup"): "ROLLUP", (exp.Group, "cube"): "CUBE", (exp.Group, "grouping_sets"): "GROUPING SETS",
    (exp.Group, "totals"): "WITH TOTALS", (exp.Ordered, "with_fill"): "WITH FILL",
    (exp.Limit, "limit_options"): "LIMIT with PERCENT or WITH TIES", (exp.Limit, "offset"): "LIMIT a, b",
    (exp.Limit, "expressions"): "LIMIT BY", (exp.Offset, "expressions"): "LIMIT BY",
    (exp.Distinct, "on"): "DISTINCT ON", (exp.Column, "catalog"): "A column name of four parts",
    (exp.Column, "join_mark"): "A join mark (+)",
    (exp.Star, "except_"): "* EXCLUDE", (exp.Star, "replace"): "* REPLACE", (exp.Star, "rename"): "* RENAME",
    (exp.Star, "ilike"): "* LIKE",
    (exp.In, "unnest"): "IN UNNEST", (exp.In, "field"): "IN without a list",
    (exp.Between, "symmetric"): "BETWEEN SYMMETRIC", (exp.Trim, "collation"): "COLLATE",
    (exp.Cast, "format"): "CAST ... FORMAT", (exp.Cast, "action"): "CAST with an action",
    (exp.Cast, "default"): "CAST with a default",
    (exp.DataType, "nested"): "A nested type", (exp.DataType, "kind"): "A type of your own",
    (exp.DataType, "values"): "A nested type", (exp.StrPosition, "position"): "POSITION with a start",
}
