/**
 * Identifiers that somebody could choose to break a key, a pattern, a slot, a log or an object: at least 300, all
 * different. Any of them may come as jti, subject, limiter key or cache key.
 */
export const hostileIdentifiers: readonly string[] = [
  ...new Set([
    ...eachCharacter(),
    ...redisSyntax(),
    ...objectMembers(),
    ...ourOwnKeys(),
    ...injections(),
    ...unicode(),
    ...lengths(),
    ...numbers(),
  ]),
];

/** Every ASCII control and punctuation character: alone, inside, and at both ends. */
function eachCharacter(): string[] {
  const codes = Array.from({ length: 128 }, (_, code) => code).filter(
    (code) => !/[A-Za-z0-9]/.test(String.fromCharCode(code)),
  );
  return codes.flatMap((code) => {
    const character = String.fromCharCode(code);
    return [character, `a${character}b`, `${character}a${character}`];
  });
}

function redisSyntax(): string[] {
  return [
    ...[
      "*",
      "?",
      "[a-z]",
      "[^a]",
      "h?llo",
      "user*",
      "\\*",
      "{a}",
      "{}",
      "{}{a}",
      "{a}{b}",
      "{{a}}",
      "a}b{c",
      "{",
      "}{",
    ],
    ...[
      "*3\r\n$3\r\nSET",
      "$-1\r\n",
      "+OK\r\n",
      "-ERR x\r\n",
      "FLUSHALL",
      "\r\nFLUSHALL\r\n",
      "EVAL",
      "nil",
      "(nil)",
      "OK",
    ],
    ...[
      "redis.call('FLUSHALL')",
      "]] os.exit() --",
      "KEYS[1]",
      "ARGV[1]",
      "%d",
      "%s%s%n",
      "0x7f",
      "1e309",
      "inf",
      "nan",
    ],
  ];
}

function objectMembers(): string[] {
  return [
    ...["__proto__", "constructor", "prototype", "toString", "valueOf", "hasOwnProperty", "__defineGetter__", "then"],
    ...["length", "size", "undefined", "null", "true", "false", "NaN", "Infinity", "-0", "[object Object]", "Symbol()"],
  ];
}

/** What our own keys look like. */
function ourOwnKeys(): string[] {
  return [
    ...[
      "~",
      "~AAAAAAAAAAAAAAAAAAAAAAAA",
      "auth:revoked:x",
      "auth:cutoff:alice",
      "portcullis:2:quota:{0}:ip:x",
      "portcullis:",
    ],
    ...[
      "a:b",
      "a:b:c",
      ":a",
      "a:",
      "::",
      "shared:default:k",
      "user:alice",
      "default",
      "shared",
      "iss-0123456789abcdef0123456789abcdef.alice",
    ],
    ...[
      "portcullis:2:revoked:jti:x",
      "portcullis:2:cutoff:subject:x",
      "sha256:x",
      "alice.",
      ".alice",
      "alice..",
      "-",
      "_",
      ".",
    ],
  ];
}

function injections(): string[] {
  return [
    ..."' OR 1=1 --|\"; DROP TABLE users; --|<script>alert(1)</script>|${jndi:ldap://x}|{{7*7}}|../../etc/passwd".split(
      "|",
    ),
    ...[
      "..\\..\\windows",
      "%00",
      "%2e%2e%2f",
      "a%0d%0aSet-Cookie: x=1",
      "a\r\nSet-Cookie: x=1",
      "\u001b[31mred",
      "\u001b]0;t\u0007",
    ],
    ...[
      "a\0b",
      "\0",
      "a\nb",
      "a\tb",
      " a",
      "a ",
      "  ",
      "a  b",
      '"',
      "\\",
      "\\u0000",
      "file:///x",
      "javascript:x",
      "a@b.c",
      "A@B.C",
    ],
  ];
}

function unicode(): string[] {
  return [
    // The same to the eye, different in code points.
    ...[
      "caf\u00e9",
      "cafe\u0301",
      "\u0430lice",
      "alice\u200b",
      "\u200balice",
      "\ufeffalice",
      "alice\u00ad",
      "\u212bng",
      "\u00c5ng",
    ],
    ...[
      "ALICE",
      "Alice",
      "\uff41lice",
      "stra\u00dfe",
      "strasse",
      "\u0130",
      "i\u0307",
      "\u0131",
      "\u202ealice",
      "\u2066a\u2069",
    ],
    // Ill-formed UTF-16: as UTF-8 all of these would be one replacement character.
    ...[
      "\ud800",
      "\udbff",
      "\udc00",
      "\udfff",
      "\ud800\ud800",
      "\udc00\ud800",
      "a\ud800",
      "\ud800a",
      "\ufffd",
      "\ufffd\ufffd",
    ],
    ...[
      "\u{1f600}",
      "\u{10ffff}",
      "\uffff",
      "\u0000\ud800",
      "\u{1f468}\u200d\u{1f469}",
      "\u2028",
      "\u2029",
      "\u0085",
      "\u3000",
    ],
  ];
}

function lengths(): string[] {
  return [1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 511, 512, 513, 1024].flatMap((length) => [
    "x".repeat(length),
    `${"x".repeat(length - 1)}y`,
    "\u00e9".repeat(length),
  ]);
}

function numbers(): string[] {
  return [
    "0",
    "1",
    "-1",
    "00",
    "01",
    "1.0",
    "1e3",
    "0x1",
    "9007199254740993",
    "9007199254740992",
    "1_000",
    "+1",
    "\u0661",
  ];
}
