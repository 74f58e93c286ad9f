// The readers of files from outside, given damaged ones: each either says what is wrong in one line
// that names the file, or returns something whole. Run with the sanitizers it also shows that
// nothing is read or written out of bounds.

#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "jobs/loads/trace.hpp"
#include "jobs/placement_file.hpp"
#include "tests/fuzz/mutation.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t runs = 3000;
#else
constexpr std::uint64_t runs = 12000;
#endif

struct tally {
  int read = 0;
  int refused = 0;
};

/// Gives `read` the file damaged in `runs` ways.
tally fuzz(const std::string& name, const std::string& good,
           const std::function<void(const std::string& path)>& read) {
  const temporary_folder folder;
  tally seen;
  EXPECT_NO_THROW(read(folder.write(name, good))) << "the undamaged file";
  for (std::uint64_t seed = 1; seed <= runs; ++seed) {
    testing::generator random(seed);
    const std::string path = folder.write(name, testing::mutated(good, random));
    try {
      read(path);
      ++seen.read;
    } catch (const std::invalid_argument& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(name), std::string::npos) << "seed " << seed << ": " << text;
      EXPECT_EQ(text.find('\n'), std::string::npos) << "seed " << seed << ": " << text;
      EXPECT_LT(text.size(), 600u) << "seed " << seed << ": " << text;
      ++seen.refused;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "seed " << seed << ": " << error.what();
    }
  }
  EXPECT_GT(seen.refused, 0);
  return seen;
}

void read_trace(const std::string& path) {
  const std::unique_ptr<load_source> source = open_trace(path);
  ASSERT_GE(source->layers(), 1);
  ASSERT_GE(source->experts(), 1);
  ASSERT_GE(source->steps(), 1);
  EXPECT_EQ(source->describe().find('\n'), std::string::npos);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(source->layers()) * source->experts());
  for (std::int64_t step = 0; step < source->steps(); ++step) {
    source->counts(step, counts);
    for (const std::int64_t count : counts) ASSERT_TRUE(count >= 0 && count <= load_max) << count;
  }
}

const std::string trace_text =
    R"({"model": "made-up", "layers": 2, "experts": 4, "top_k": 2, "steps": [)"
    R"([[1, 20, 300, 4], [5, 0, 7, 80]], [[9, 10, 11, 12], [13, 14, 15, 16]],)"
    R"([[1, 2, 3, 4], [4000000000, 0, 0, 1]]], "tokens": [200, 100, 50]})";

TEST(reader_fuzz, json_traces) { EXPECT_GT(fuzz("t.json", trace_text, read_trace).read, 0); }

TEST(reader_fuzz, zipped_traces) { fuzz("t.json.gz", gzip(trace_text), read_trace); }

TEST(reader_fuzz, arrays) {
  for (const char* header : {"{'descr': '<i8', 'fortran_order': False, 'shape': (3, 2, 4), }",
                             "{'descr': '<i4', 'fortran_order': False, 'shape': (6, 8), }",
                             "{'descr': '<f8', 'fortran_order': False, 'shape': (6, 4), }"}) {
    const std::vector<std::int64_t> cells(24, 0);
    EXPECT_GT(fuzz("t.npy", npy(header, bytes_of(cells)), read_trace).read, 0) << header;
  }
}

TEST(reader_fuzz, placements) {
  const std::string good =
      R"({"schema": "ballast.placement/1", "layers": 2, "experts": 3, "ranks": 2,)"
      R"("slots_per_rank": 2, "model": "made-up",)"
      R"("placement": [[0, 1, 2, -1], [0, 1, 2, 0]],)"
      R"("shares": [[65536, 65536, 65536, 0], [32768, 65536, 65536, 32768]]})";
  const tally seen = fuzz("p.json", good, [](const std::string& path) {
    const placement_file file = read_placement_file(path);
    const std::size_t cells =
        static_cast<std::size_t>(file.layers) * file.ranks * file.slots_per_rank;
    ASSERT_EQ(file.experts_of_slots.size(), cells);
    ASSERT_EQ(file.shares.size(), cells);
    for (const std::int32_t expert : file.experts_of_slots)
      ASSERT_TRUE(expert >= -1 && expert < file.experts) << expert;
    for (const std::int32_t share : file.shares) ASSERT_TRUE(share >= 0 && share <= 65536) << share;
  });
  EXPECT_GT(seen.read, 0);
}

}  // namespace
}  // namespace ballast
