// Package pattern matches the regular expressions by which tokenizers cut text into words.
//
// Those expressions need what package regexp leaves out (lookahead, possessive repetition, intersected
// classes, \s over all of Unicode) and are run over megabytes of text, several times each. A Pattern is a small
// backtracking program over UTF-8 bytes: every alternative knows the bytes that it can begin with, a class is a
// bitmap, and a repeated class is one step, so that an ordinary word costs some tens of nanoseconds.
//
// Syntax: literals; \t \n \r \f \v \0 \xHH \uHHHH \x{H…}; \s \S \d \D \w \W (all Unicode); \p{L}, \p{Lu}, \p{Han} and
// the other categories and scripts, \P{…}, \p{^…}; classes with ranges, negation and && intersection; (…), (?:…),
// (?i:…), (?i), (?=…), (?!…), (?>…); * + ? {m} {m,} {m,n}, each greedy, lazy (*?) or possessive (*+); | ^ $ \b \B \A
// \z. Groups do not capture and there is no lookbehind. A byte that is not UTF-8 counts as U+FFFD, one byte wide.
package pattern
