"""Lists of every form with what is looked for in them; `DIR` in a list stands for the directory with the files."""

from dataclasses import dataclass
from pathlib import Path

import apsw

from relay.expand.lists import ListKind, NamedList
from relay.net.cdb import key_hash

HOST_NAME = "relay.test"
NAMED_LISTS = (
    NamedList(ListKind.DOMAIN, "ours", "relay.test : *.relay.test"),
    NamedList(ListKind.DOMAIN, "nested", "!no.relay.test : +ours : b.test"),
    NamedList(ListKind.DOMAIN, "looked", "lsearch;DIR/table"),
    NamedList(ListKind.DOMAIN, "negative", "!a.test"),
    NamedList(ListKind.DOMAIN, "nothing", ""),
    NamedList(ListKind.DOMAIN, "semicolons", "<; a.test ; b;;c ; +ours"),
    NamedList(ListKind.DOMAIN, "in_cache", "a.test : *.b.test"),
    NamedList(ListKind.LOCAL_PART, "roles", "postmaster : abuse"),
    NamedList(ListKind.ADDRESS, "people", "ann@relay.test : *@b.test"),
    NamedList(ListKind.HOST, "near", "10.0.0.0/8 : 192.168.0.0/16"),
    NamedList(ListKind.HOST, "far", "!+near : *"),
    NamedList(ListKind.HOST, "keyed", "net-lsearch;DIR/networks"),
)
FILES = {
    "table": """\
# comment
a.test: one
b.test   two words
*.b.test: below b
*.deep.b.test: below deep
relay.test: ours : and more
x.a.test:
ann@a.test: whole
ann: local
*@b.test: anybody
*: the rest
continued.test: first
   second
"quoted key.test": quoted
""",
    "exact": "a.test: one\nrelay.test: ours\n[127.0.0.1]: literal\nann@a.test: whole\nAnn@a.test: never\nann: local\n",
    "dots": ".b.test: dotted\na.test: one\n",
    "bare": "b.test: bare\na.test: one\n",
    "star": "*: the star\na.test: one\n",
    "wild": "*.a.test: under a\n\\\\N^b\\\\.test$\\\\N: regex\n!relay.test: not ours\n",
    "nwild": "*.a.test: under a\n^(.*)\\.test$: regex\nann: local\n",
    "networks": """\
10.0.0.1: one
10.0.0.0/8: wide
10.5.5.0/24: narrow
192.168.1.0/24: home
2001.0db8.0000.0000.0000.0000.0000.0005: six
2001.0db8.0000.0000.0000.0000.0000.0000/32: six net
localhost: here
127.0.0.1: loop
""",
    "ips": """\
10.0.0.1: one
10.0.0.0/8: wide
"2001:db8::/32": six
127.0.0.1: loop
*: others
""",
    "domains": "# ours\na.test\n!no.relay.test\n*.relay.test # trailing\n\n  spaced.test  \n^b\\.te.t$\n",
    "negated": "!a.test\n!b.test\n",
    "lookups": "lsearch;DIR/exact\n",
    "locals": "postmaster\nwith#hash\nann # comment\n!bob\n",
    "addresses": "ann@a.test\n*@b.test\n!bob@relay.test\n@relay.test\n",
    "hosts": "10.0.0.1 # one\n!10.5.5.5\n10.0.0.0/8\n2001:db8::/32\nnet-lsearch;DIR/networks\n",
    "nobody": "",
    "by_domain": """\
a.test: ann : bob
b.test: !bob : *
relay.test: ^a : >default
default: postmaster : >a.test
""",
}


@dataclass(frozen=True, slots=True)
class Question:
    """Is the subject in the list? For hosts the subject is the client's address."""

    kind: ListKind
    text: str
    subject: str
    name: str = ""
    """The client's name, where it is known."""

    def __str__(self) -> str:
        return f"{self.kind.value} list {self.text!r}, {self.subject!r} {self.name}".rstrip()


def write_files(directory: Path) -> None:
    for name, content in FILES.items():
        (directory / name).write_text(content.replace("DIR", str(directory)))
    (directory / "entries").mkdir()
    for name in ("a.test", "ann"):
        (directory / "entries" / name).write_text("")
    (directory / "entries" / "relay.test").mkdir()
    database = apsw.Connection(str(directory / "people.sqlite"))
    database.execute("CREATE TABLE t(k TEXT, v TEXT); INSERT INTO t VALUES ('a.test', 'from sql'), ('ann', '');")
    database.close()
    write_cdb(directory / "table.cdb", {b"a.test": b"constant", b"*.b.test": b"below b", b"ann": b"local"})


def write_cdb(path: Path, entries: dict[bytes, bytes]) -> None:
    """A constant database with tables twice as large as needed."""
    records, slots = b"", [[] for _ in range(256)]  # type: list[list[tuple[int, int]]]
    for key, data in entries.items():
        slots[key_hash(key) % 256].append((key_hash(key), 2048 + len(records)))
        records += len(key).to_bytes(4, "little") + len(data).to_bytes(4, "little") + key + data
    header, tables = b"", b""
    for entry in slots:
        size = 2 * len(entry)
        table = [(0, 0)] * size
        for found, position in entry:
            place = (found >> 8) % size
            while table[place] != (0, 0):
                place = (place + 1) % size
            table[place] = (found, position)
        header += (2048 + len(records) + len(tables)).to_bytes(4, "little") + size.to_bytes(4, "little")
        tables += b"".join(one.to_bytes(4, "little") + other.to_bytes(4, "little") for one, other in table)
    path.write_bytes(header + records + tables)


DOMAIN_SUBJECTS = ("a.test", "X.a.test", "relay.test", "no.relay.test", "b.test", "y.deep.b.test", "[127.0.0.1]")
DOMAIN_LISTS = r"""
*
a.test
A.TEST
a.test : b.test
a.test:b.test
: a.test
a.test :
a.test : : b.test
!a.test
! a.test
!a.test : *
!a.test : b.test
b.test : !a.test
!a.test : !b.test
*.test
*a.test
*.a.test : relay.test
!*.a.test : *.test
*test
.test
@
@[]
!@ : *
@ : @[]
^a
^\\N(x|y)\\.(.*)\\N
^\N(x|y)\.(.*)$\N
^\N^X\N
^\N(?-i)^X\.\N
^\N^[a-z]+\.test$\N : *
!^\N^a\N
^\Na{1,1}\.test\N
<; a.test ; b.test
<;a.test;b.test
<, a.test, relay.test
< a.test
<\n a.test \n b.test
<\n *.a.test \n relay.test
<| a.test | ^b
a.test::b.test
<; a.test;;b.test ; b.test
${if eq{1}{1}{a.test}}
${if eq{1}{2}{a.test}fail}
$domain
!$domain
${uc:a.test} : relay.test
${if eq{$domain}{b.test}{*}{a.test}}
$primary_hostname
${map{a:b}{$item.test}}
+ours
!+ours
+ours : a.test
!+ours : *
+nested
+looked
!+looked
+negative
+nothing
!+nothing
+in_cache
+ours : +in_cache
+semicolons
lsearch;DIR/exact
lsearch; DIR/exact
lsearch ;DIR/exact
!lsearch;DIR/exact
lsearch;DIR/table
lsearch*;DIR/table
lsearch*@;DIR/table
partial-lsearch;DIR/table
partial1-lsearch;DIR/table
partial2-lsearch;DIR/table
partial3-lsearch;DIR/table
partial0-lsearch;DIR/star
partial1-lsearch;DIR/star
partial(.)lsearch;DIR/dots
partial1(.)lsearch;DIR/dots
partial()lsearch;DIR/bare
partial0()lsearch;DIR/bare
partial(*.)lsearch;DIR/table
partial-lsearch*;DIR/table
partial-lsearch*@;DIR/table
lsearch,ret=full;DIR/table
lsearch,ret=key;DIR/table
lsearch,cache=no_rd;DIR/exact
lsearch*,ret=full;DIR/table
partial-lsearch,ret=key;DIR/table
wildlsearch;DIR/nwild
nwildlsearch;DIR/nwild
nwildlsearch*;DIR/nwild
partial-nwildlsearch;DIR/nwild
dsearch;DIR/entries
dsearch,ret=full;DIR/entries
dsearch,filter=file;DIR/entries
dsearch,filter=dir;DIR/entries
dsearch,filter=subdir;DIR/entries
partial-dsearch;DIR/entries
cdb;DIR/table.cdb
partial-cdb;DIR/table.cdb
cdb*;DIR/table.cdb
sqlite,file=DIR/people.sqlite;select v from t where k='${quote_sqlite:$domain}'
sqlite;DIR/people.sqlite select v from t where k='a.test'
sqlite,file=DIR/people.sqlite;select k,v from t where k='a.test'
sqlite,file=DIR/people.sqlite;select v from t where k='none'
passwd;root
passwd;no-such-user
iplsearch;DIR/ips
/DIR/domains
DIR/domains
!DIR/domains
DIR/negated
!DIR/negated
DIR/negated : a.test
DIR/lookups
DIR/nobody
!DIR/nobody
a.test : DIR/nobody
!DIR/domains : *
b.test : DIR/domains
+nowhere
a.test : +nowhere
relay.test/
re;lay
a;b : b.test
;;
a.test : ;;
"""

LOCAL_SUBJECTS = ("ann", "Ann", "postmaster", "bob", "with#hash", "ann-list", "x+y", '"q s"')
LOCAL_LISTS = r"""
*
ann
ANN
+caseful : ann
+caseful : Ann
ann : +caseful : Ann
! ann : *
!ann
*-list
ann-*
ann*
^ann
^\N^ann-(.*)$\N
+caseful : ^ann$
^(?-i)Ann
+roles
!+roles
+roles : ann
+caseful : +roles
lsearch;DIR/exact
lsearch*;DIR/table
nwildlsearch;DIR/nwild
cdb;DIR/table.cdb
dsearch;DIR/entries
partial-lsearch;DIR/table
DIR/locals
!DIR/locals
DIR/locals : *
$local_part
@
@[]
x+y
"q s"
q s
<; ann ; bob
postmaster : abuse : webmaster
+nowhere
"""

ADDRESS_SUBJECTS = (
    *("ann@a.test", "Ann@A.test", "bob@relay.test", "bob@b.test", "ann-list@x.a.test", ""),
    "postmaster@relay.test",
)
ADDRESS_LISTS = r"""
*
*@*
ann@a.test
ANN@a.test
+caseful : Ann@a.test
+caseful : ann@a.test
ann@a.test : +caseful : Ann@A.test
a.test
*.a.test
*@a.test
*@*.a.test
*n@a.test
*nn@*
*list@*.test
ann@*
*-list@x.a.test
*ann@*.test
@a.test
bob@@
*@@
*@@[]
postmaster@@ : a.test
^ann@
^\N^(.*)@a\.test$\N
^\N^$\N
^\N^[A-Z]\N
+caseful : ^\N^(?-i)[A-Z]\N
:
: ann@a.test
!
!ann@a.test
!ann@a.test : *@*
!*@b.test : *@relay.test : :
+people
!+people
+people : ann@a.test
ann@+ours
*@+ours
*@+looked
bob@+nested
*@+nowhere
bob@!b.test
*@DIR/domains
ann@DIR/domains
lsearch;DIR/exact
lsearch;DIR/table
lsearch*@;DIR/table
lsearch*;DIR/table
nwildlsearch;DIR/nwild
!lsearch;DIR/exact
*@lsearch;DIR/exact
ann@lsearch;DIR/exact
ann@partial-lsearch;DIR/table
bob@dsearch;DIR/entries
lsearch,ret=full;DIR/exact
@@lsearch;DIR/by_domain
@@partial-lsearch;DIR/by_domain
!@@lsearch;DIR/by_domain
+caseful : @@lsearch;DIR/by_domain
DIR/addresses
!DIR/addresses
$sender_address
<; ann@a.test ; bob@b.test
bob@b.test : DIR/nobody
ann@a.test@
+nowhere
*@^b
*@!a.test
"""

HOST_SUBJECTS = (
    *("10.0.0.1", "10.5.5.5", "192.168.1.77", "127.0.0.1", "203.0.113.9"),
    *("::1", "2001:db8::5", "::ffff:10.0.0.1"),
)
HOST_LISTS = r"""
*
!*
10.0.0.1
!10.0.0.1
10.0.0.1 : 127.0.0.1
10.0.0.0/8
10.0.0.0/8 : !10.5.5.0/24
!10.5.5.0/24 : 10.0.0.0/8
!10.5.5.0/24
10.0.0.0/0
0.0.0.0/0
::::/0
<; ::/0
10.5.5.5/24
10.0.0.1/33
10.0.0.1/32
10.0.0
10.0.0/24
10.0.0/24 : 10.0.0.1
300.1.1.1
10.0.0.1/255.0.0.0
10.0.0.01
::::1
<; ::1
<; ::1 ; 10.0.0.1
2001::db8::::/32
<; 2001:db8::/32
<; 2001:DB8:0:0::5
<; 2001:db8::5/128
<; ::ffff:10.0.0.1
<; ::ffff:10.0.0.0/104
@[]
!@[]
@[] : 10.0.0.1
:
: 10.0.0.1
10.0.0.1 : :
+near
!+near
+far
+near : 127.0.0.1
!+near : *
+keyed
+nowhere
10.0.0.1 : +nowhere
+ignore_unknown : +near
+include_unknown : 10.0.0.1
+ignore_unknown : 10.0.0/24 : 10.0.0.1
+include_unknown : 10.0.0/24 : 10.0.0.1
+ignore_unknown : +include_unknown : 10.0.0/24
+ignore_defer : 10.0.0.1
+include_defer : 10.0.0.1
net-lsearch;DIR/networks
net8-lsearch;DIR/networks
net24-lsearch;DIR/networks
net32-lsearch;DIR/networks
net0-lsearch;DIR/networks
net-iplsearch;DIR/ips
net24-iplsearch;DIR/ips
net-nwildlsearch;DIR/networks
net-lsearch,ret=full;DIR/networks
net-lsearch; DIR/networks
!net-lsearch;DIR/networks
net-cdb;DIR/table.cdb
net-dsearch;DIR/entries
net-sqlite;DIR/people.sqlite select v from t where k='a.test'
sqlite;DIR/people.sqlite select v from t where k='a.test'
sqlite,file=DIR/people.sqlite;select v from t where k='${quote_sqlite:$sender_host_address}'
passwd;root
DIR/hosts
!DIR/hosts
DIR/hosts : 127.0.0.1
DIR/nobody
$sender_host_address
!$sender_host_address
${if eq{$sender_host_address}{10.0.0.1}{*}fail}
<, 10.0.0.1, 127.0.0.1
<\n 10.0.0.1 \n 127.0.0.1
localhost
!localhost
localhost : 10.0.0.1
"""
# These are about the client's name.
NAMED_CLIENTS = (("10.0.0.1", "x.a.test"), ("2001:db8::5", "Relay.Test"), ("203.0.113.9", "y.deep.b.test"), ("", ""))
NAME_LISTS = r"""
*
:
: 10.0.0.1
!
! : *
10.0.0.1
*.test
*.TEST
*.a.test
*.none : *test
^x
^\N^X\.(.*)t$\N
^\N(?-i)^R\N
!*.a.test : *
!*.a.test
*a.test : !*.b.test
@mx_any/ignored
lsearch;DIR/exact
!lsearch;DIR/exact
lsearch*;DIR/table
partial-lsearch;DIR/table
partial-lsearch,ret=key;DIR/table
lsearch,ret=full;DIR/exact
nwildlsearch;DIR/nwild
dsearch;DIR/entries
cdb;DIR/table.cdb
iplsearch;DIR/ips
DIR/domains
!DIR/domains
DIR/lookups
^nothing : 127.0.0.1
+ignore_unknown : *.test
+include_unknown : *.none
+near
$sender_host_name
${lc:$sender_host_name}
net-lsearch;DIR/networks
@[]
"""


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def questions() -> list[Question]:
    asked = [
        Question(kind, text, subject)
        for kind, lists, subjects in (
            (ListKind.DOMAIN, DOMAIN_LISTS, DOMAIN_SUBJECTS),
            (ListKind.LOCAL_PART, LOCAL_LISTS, LOCAL_SUBJECTS),
            (ListKind.ADDRESS, ADDRESS_LISTS, ADDRESS_SUBJECTS),
            (ListKind.HOST, HOST_LISTS, HOST_SUBJECTS),
        )
        for text in lines(lists)
        for subject in subjects
    ]
    named = [
        Question(ListKind.HOST, text, address, name) for text in lines(NAME_LISTS) for address, name in NAMED_CLIENTS
    ]
    asked = [each for each in asked if each.subject != "::1" or "@[]" not in each.text]  # not every host has it
    empty = [Question(ListKind.DOMAIN, "", "a.test"), Question(ListKind.HOST, "", "10.0.0.1")]
    return asked + named + empty
