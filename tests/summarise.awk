# Counts single tests over JUnit files written by ctest, each named RUN.xml: the cases inside a
# GoogleTest program, or one for any other test. Names what failed and what was skipped and why;
# ends with "N passed, N failed, N skipped" and fails if anything did.

FNR == 1 { run = FILENAME; sub(/.*\//, "", run); sub(/\.xml$/, "", run) }
/<testcase / {
  name = attribute("name"); status = attribute("status")
  googletest = cases_failed = not_found = skipping = 0
  last = "no output"
}
/<skipped message="/ && !/SKIP_RETURN_CODE|SKIP_REGULAR_EXPRESSION/ { not_found = 1 }
{ ended = /<\/testcase>/; gsub(/\t*<[^>]*>/, "") } # markup within the output is escaped
/[^ \t]/ { last = $0 }
/^\[  PASSED  \] [0-9]+ test/ { passed += $4; googletest = 1 }
/^\[  FAILED  \] [0-9]+ test/ { failed += $4; cases_failed += $4; googletest = 1 }
/^\[  SKIPPED \] [0-9]+ test/ { skipped += $4; googletest = 1 }
/^\[  FAILED  \] .* \([0-9]+ ms\)$/ { print "FAILED  " run " " name ": " substr($0, 14) }
/^\[  SKIPPED \] .* \([0-9]+ ms\)$/ {
  sub(/ \([0-9]+ ms\)$/, "")
  print "skipped " run " " name ": " substr($0, 14) ":" reason
  skipping = 0
}
skipping { reason = reason " " $0 }
/: Skipped$/ { skipping = 1; reason = "" }
ended {
  if (status == "run") passed += !googletest
  else if (status == "notrun" && !not_found) { ++skipped; print "skipped " run " " name ": " last }
  else if (cases_failed == 0) { ++failed; print "FAILED  " run " " name ": " last }
}
function attribute(key,   text) {
  text = $0
  sub(".*[ \t]" key "=\"", "", text)
  sub("\".*", "", text)
  return text
}
END {
  printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
  exit failed > 0 || passed == 0
}
