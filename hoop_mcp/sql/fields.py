"""Every field of every node: walked by the tracer, or ignorable, with nothing in between.

A field in neither set is a hole: a test compares these sets with the schemas of every major version, and the tracer
refuses a node that is not here. ``walked`` fields are those whose value can hold an expression, a query or a decision
about rows; ``ignorable`` ones only describe (types, positions, names), or repeat what another field says.
"""

from __future__ import annotations

from typing import NamedTuple


class Fields(NamedTuple):
    """The two halves of a node."""

    walked: frozenset[str]
    ignorable: frozenset[str]


def _fields(walked: str, ignorable: str = "") -> Fields:
    return Fields(frozenset(walked.split()), frozenset(ignorable.split()))


OLD_NAMES = {
    "RTE": "RANGETBLENTRY",
    "CASE": "CASEEXPR",
    "WHEN": "CASEWHEN",
    "ARRAY": "ARRAYEXPR",
    "ROW": "ROWEXPR",
    "COALESCE": "COALESCEEXPR",
    "MINMAX": "MINMAXEXPR",
    "COLLATE": "COLLATEEXPR",
    "ROWCOMPARE": "ROWCOMPAREEXPR",
}
"""What PostgreSQL 14 prints -> the name every later version prints."""

FIELDS: dict[str, Fields] = {
    "AGGREF": _fields(
        "aggfnoid aggdirectargs args aggorder aggdistinct aggfilter aggstar agglevelsup",
        "aggtype aggcollid inputcollid aggtranstype aggargtypes aggvariadic aggkind aggsplit aggno aggtransno location"
        " aggpresorted",
    ),
    "ALIAS": _fields("", "aliasname colnames"),
    "ARRAYCOERCEEXPR": _fields("arg elemexpr", "resulttype resulttypmod resultcollid coerceformat location"),
    "ARRAYEXPR": _fields("elements", "array_typeid array_collid element_typeid multidims location list_start list_end"),
    "BOOLEANTEST": _fields("arg", "booltesttype location"),
    "BOOLEXPR": _fields("boolop args", "location"),
    "CASEEXPR": _fields("arg args defresult", "casetype casecollid location"),
    "CASETESTEXPR": _fields("", "typeId typeMod collation"),
    "CASEWHEN": _fields("expr result", "location"),
    "COALESCEEXPR": _fields("args", "coalescetype coalescecollid location"),
    "COERCETODOMAIN": _fields("arg resulttype", "resulttypmod resultcollid coercionformat location"),
    "COERCEVIAIO": _fields("arg resulttype", "resultcollid coerceformat location"),
    "COLLATEEXPR": _fields("arg collOid", "location"),
    "COMMONTABLEEXPR": _fields(
        "ctename ctequery search_clause cycle_clause cterecursive",
        "aliascolnames ctematerialized location cterefcount ctecolnames ctecoltypes ctecoltypmods ctecolcollations",
    ),
    "CONST": _fields("consttype constisnull constvalue", "consttypmod constcollid constlen constbyval location"),
    "DISTINCTEXPR": _fields("opfuncid args", "opno opresulttype opretset opcollid inputcollid location"),
    "FIELDSELECT": _fields("arg fieldnum", "resulttype resulttypmod resultcollid"),
    "FROMEXPR": _fields("fromlist quals"),
    "FUNCEXPR": _fields(
        "funcid funcretset funcvariadic args", "funcresulttype funcformat funccollid inputcollid location"
    ),
    "GROUPINGFUNC": _fields("", "args refs cols agglevelsup location"),
    "GROUPINGSET": _fields("", "kind content location"),
    "JOINEXPR": _fields("larg rarg quals", "jointype isNatural usingClause join_using_alias alias rtindex"),
    "MINMAXEXPR": _fields("args", "minmaxtype minmaxcollid inputcollid op location"),
    "NAMEDARGEXPR": _fields("arg argnumber", "name location"),
    "NULLIFEXPR": _fields("opfuncid args", "opno opresulttype opretset opcollid inputcollid location"),
    "NULLTEST": _fields("arg argisrow", "nulltesttype location"),
    "OPEXPR": _fields("opfuncid args", "opno opresulttype opretset opcollid inputcollid location"),
    "PARAM": _fields("paramkind", "paramid paramtype paramtypmod paramcollid location"),
    "QUERY": _fields(
        "commandType utilityStmt resultRelation hasModifyingCTE hasForUpdate cteList rtable jointree targetList onConflict"
        " returningList groupClause groupingSets havingQual windowClause distinctClause sortClause limitOffset limitCount"
        " rowMarks setOperations withCheckOptions mergeActionList mergeJoinCondition",
        "querySource canSetTag hasAggs hasWindowFuncs hasTargetSRFs hasSubLinks hasDistinctOn hasRecursive hasRowSecurity"
        " isReturn override groupDistinct limitOption constraintDeps stmt_location stmt_len mergeUseOuterJoin rteperminfos"
        " mergeTargetRelation hasGroupRTE returningOldAlias returningNewAlias",
    ),
    "RANGETBLENTRY": _fields(
        "rtekind ctename ctelevelsup securityQuals functions funcordinality joinaliasvars relid tablesample subquery"
        " tablefunc values_lists groupexprs",
        "alias eref self_reference coltypes coltypmods colcollations lateral inh inFromCl requiredPerms checkAsUser"
        " selectedCols insertedCols updatedCols extraUpdatedCols jointype joinmergedcols joinleftcols joinrightcols"
        " join_using_alias relkind rellockmode security_barrier perminfoindex",
    ),
    "RANGETBLFUNCTION": _fields(
        "funcexpr funccolcount", "funccolnames funccoltypes funccoltypmods funccolcollations funcparams"
    ),
    "RANGETBLREF": _fields("rtindex"),
    "RELABELTYPE": _fields("arg", "resulttype resulttypmod resultcollid relabelformat location"),
    "ROWCOMPAREEXPR": _fields("largs rargs", "rctype cmptype opnos opfamilies inputcollids"),
    "ROWEXPR": _fields("args", "row_typeid row_format colnames location"),
    "RTEPERMISSIONINFO": _fields("", "relid inh requiredPerms checkAsUser selectedCols insertedCols updatedCols"),
    "SCALARARRAYOPEXPR": _fields("opfuncid useOr args", "opno hashfuncid negfuncid inputcollid location"),
    "SETOPERATIONSTMT": _fields("op all larg rarg colTypes", "colTypmods colCollations groupClauses"),
    "SORTGROUPCLAUSE": _fields("tleSortGroupRef", "eqop sortop nulls_first hashable reverse_sort"),
    "SQLVALUEFUNCTION": _fields("", "op type typmod location"),
    "SUBLINK": _fields("subLinkType testexpr subselect", "subLinkId operName location"),
    "SUBSCRIPTINGREF": _fields(
        "refupperindexpr reflowerindexpr refexpr refassgnexpr",
        "refcontainertype refelemtype refrestype reftypmod refcollid",
    ),
    "TARGETENTRY": _fields("expr ressortgroupref resjunk", "resno resname resorigtbl resorigcol"),
    "VAR": _fields(
        "varno varattno varlevelsup",
        "vartype vartypmod varcollid varnosyn varattnosyn location varnullingrels varreturningtype",
    ),
    "WINDOWCLAUSE": _fields(
        "partitionClause orderClause startOffset endOffset winref",
        "name refname frameOptions startInRangeFunc endInRangeFunc inRangeColl inRangeAsc inRangeNullsFirst"
        " copiedOrder runCondition",
    ),
    "WINDOWFUNC": _fields(
        "winfnoid args aggfilter winstar winref", "wintype wincollid inputcollid winagg location runCondition"
    ),
    "XMLEXPR": _fields("op named_args args xmloption indent", "name arg_names type typmod location"),
}

OID_FIELDS: dict[str, str] = {
    "funcid": "function",
    "opfuncid": "function",
    "hashfuncid": "function",
    "negfuncid": "function",
    "aggfnoid": "function",
    "winfnoid": "function",
    "tsmhandler": "function",
    "startInRangeFunc": "operator",
    "endInRangeFunc": "operator",
    "opno": "operator",
    "opnos": "operator",
    "eqop": "sorting",
    "sortop": "sorting",
    "cycle_mark_neop": "sorting",
    "opfamilies": "class",
    "inferopclass": "class",
    "collOid": "collation",
    "resultcollid": "collation",
    "constcollid": "collation",
    "opcollid": "collation",
    "inputcollid": "collation",
    "inputcollids": "collation",
    "funccollid": "collation",
    "aggcollid": "collation",
    "wincollid": "collation",
    "varcollid": "collation",
    "paramcollid": "collation",
    "casecollid": "collation",
    "coalescecollid": "collation",
    "minmaxcollid": "collation",
    "array_collid": "collation",
    "refcollid": "collation",
    "colCollations": "collation",
    "inRangeColl": "collation",
    "consttype": "type",
    "vartype": "type",
    "paramtype": "type",
    "resulttype": "type",
    "funcresulttype": "type",
    "opresulttype": "type",
    "aggtype": "type",
    "wintype": "type",
    "casetype": "type",
    "coalescetype": "type",
    "minmaxtype": "type",
    "array_typeid": "type",
    "element_typeid": "type",
    "row_typeid": "type",
    "refcontainertype": "type",
    "refelemtype": "type",
    "refrestype": "type",
    "typeId": "type",
    "funccoltypes": "type",
    "coltypes": "type",
    "colTypes": "type",
    "relid": "relation",
}
"""Fields that hold OIDs, whatever node they stand in: the second, generic pass collects them all."""
