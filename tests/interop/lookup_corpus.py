"""Lookups of every form in expansions; `DIR` stands for the directory with the files of `list_corpus.py`."""

from interop.list_corpus import lines

LOOKUP_KEYS = (
    *("a.test", "A.test", "x.a.test", "y.deep.b.test", "b.test"),
    *("ann@b.test", "none@none.test", "ann", "q;s", ""),
)
LOOKUP_TYPES = r"""
lsearch{DIR/table}
lsearch{DIR/exact}
lsearch {DIR/exact}
lsearch{ DIR/exact}
lsearch*{DIR/table}
lsearch*@{DIR/table}
partial-lsearch{DIR/table}
partial0-lsearch{DIR/table}
partial1-lsearch{DIR/table}
partial2-lsearch{DIR/table}
partial3-lsearch{DIR/table}
partial0-lsearch{DIR/star}
partial1-lsearch*{DIR/star}
partial-lsearch*@{DIR/table}
partial(.)lsearch{DIR/dots}
partial0(.)lsearch{DIR/dots}
partial()lsearch{DIR/bare}
partial1()lsearch{DIR/bare}
partial(*.)lsearch{DIR/table}
partial(.)-lsearch{DIR/dots}
partiallsearch{DIR/table}
lsearch,ret=full{DIR/table}
lsearch,ret=key{DIR/table}
lsearch*,ret=key{DIR/table}
lsearch,ret=full,cache=no_rd{DIR/exact}
lsearch,nonsense=1{DIR/exact}
partial-lsearch,ret=full{DIR/table}
wildlsearch{DIR/nwild}
nwildlsearch{DIR/nwild}
nwildlsearch*{DIR/nwild}
partial-nwildlsearch{DIR/nwild}
iplsearch{DIR/ips}
iplsearch*{DIR/ips}
dsearch{DIR/entries}
dsearch,ret=full{DIR/entries}
dsearch,filter=file{DIR/entries}
dsearch,filter=dir,ret=full{DIR/entries}
dsearch*{DIR/entries}
dsearch{DIR/nowhere}
dsearch{.}
cdb{DIR/table.cdb}
cdb*{DIR/table.cdb}
partial-cdb{DIR/table.cdb}
cdb{DIR/nowhere}
cdb{DIR/exact}
lsearch{DIR/nowhere}
lsearch{DIR/entries}
nosuch{DIR/exact}
ldap{DIR/exact}
sqlite{DIR/exact}
passwd{DIR/exact}
"""
LOOKUPS = r"""
${lookup sqlite,file=DIR/people.sqlite{select v from t where k='a.test'}}
${lookup sqlite,file=DIR/people.sqlite{ select v from t where k='a.test'}{<$value>}{none}}
${lookup sqlite,file=DIR/people.sqlite{select v from t where k='none'}{<$value>}{none}}
${lookup sqlite,file=DIR/people.sqlite{select v from t where k='none'}{<$value>}fail}
${lookup sqlite,file=DIR/people.sqlite{select v from t where k='ann'}{<$value>}{none}}
${lookup sqlite,file=DIR/people.sqlite{select * from t where k='a.test'}{<$value>}{none}}
${lookup sqlite,file=DIR/people.sqlite{select * from t order by k}{<$value>}{none}}
${lookup sqlite{DIR/people.sqlite select v from t where k='a.test'}}
${lookup sqlite{ DIR/people.sqlite  select v from t where k='a.test'}}
${lookup sqlite,ret=key,file=DIR/people.sqlite{select v from t where k='a.test'}}
${lookup sqlite{select 1}}
${lookup sqlite,file=relative{select 1}}
${lookup sqlite,file=DIR/people.sqlite{}{yes}{no}}
${lookup partial-sqlite{select 1}}
${lookup sqlite*{select 1}}
${lookup{k}sqlite{select 1}}
${lookup lsearch{DIR/exact}}
${lookup passwd{root}}
${lookup passwd{root}{$value}{none}}
${lookup passwd{nosuchuser}{$value}{none}}
${lookup passwd{}{$value}{none}}
${lookup passwd*{root}}
${lookup{a.test}lsearch{DIR/exact}{$value ${lookup{ann}lsearch{DIR/exact}{$value}} $value}{none}}
${lookup{none}lsearch{DIR/exact}{$value}{${lookup{ann}lsearch{DIR/exact}{$value}} <$value>}}
${lookup{none}lsearch{DIR/exact}{$value}}
${lookup{none}lsearch{DIR/exact}}
${lookup{a.test}lsearch{DIR/exact}{}}
${lookup{a.test}lsearch{DIR/exact}fail}
${lookup{none}lsearch{DIR/exact}fail}
${lookup{none}lsearch{DIR/exact}{x}fail}
${if match{abcd}{b(.)}{${lookup{y.b.test}partial-lsearch{DIR/table}{$0|$1|$2}} $0|$1|$2}}
${lookup{\x61.test}lsearch{DIR/exact}}
${lookup{quoted key.test}lsearch{DIR/table}}
${lookup{continued.test}lsearch{DIR/table}}
${lookup{10.9.9.9}iplsearch{DIR/ips}{$value}{none}}
${lookup{2001:db8::9}iplsearch{DIR/ips}{$value}{none}}
${lookup{192.0.2.1}iplsearch{DIR/ips}{$value}{none}}
${lookup{*}iplsearch{DIR/ips}{$value}{none}}
${lookup{a/b}dsearch{DIR/entries}{$value}{none}}
${lookup{..}dsearch,filter=subdir{DIR/entries}{$value}{none}}
${lookup{.}dsearch,filter=subdir{DIR/entries}{$value}{none}}
${lookup{..}dsearch,filter=dir{DIR/entries}{$value}{none}}
"""


def expressions() -> list[str]:
    """Lookups in expansions."""
    by_key = [
        f"${{lookup{{{key}}}{kind.partition('{')[0]}{{{kind.partition('{')[2]}{{$value|$1|$2}}{{none $1}}}}"
        for kind in lines(LOOKUP_TYPES)
        for key in LOOKUP_KEYS
    ]
    return by_key + lines(LOOKUPS)
