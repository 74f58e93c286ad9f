#pragma once
// Damage to files, the same on every machine: what a reader is given when it is fuzzed without a
// fuzzing engine.

#include <cstdint>
#include <string>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast::testing {

/// `text` after one to four of: a bit flipped, a byte set, a span cut out, a span repeated, the end
/// cut off, two spans exchanged, a number replaced by one at some type's limit, a bracket or quote
/// put in.
std::string mutated(std::string text, generator& random);

}  // namespace ballast::testing
