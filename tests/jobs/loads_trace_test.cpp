// Traces that open: every form of file gives the counts that are in it, and the real traces are
// what their table says.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "jobs/loads/npy_file.hpp"
#include "jobs/loads/trace.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

using counts = std::vector<std::int64_t>;

constexpr const char* small_trace =
    R"({"model": "toy", "other": {"deep": [1, {"x": null}]}, "layers": 2, "experts": 3, "topk": 2, "n_steps": 2,
        "tokens_per_step": [4, 5], "step_labels": ["a", "b"],
        "steps": [[[1, 2, 5], [0, 4, 4]], [[3, 3.0, 4], [5, 5, 0]]]})";

void expect_small_trace(load_source& source) {
  EXPECT_EQ(source.layers(), 2);
  EXPECT_EQ(source.experts(), 3);
  ASSERT_EQ(source.steps(), 2);
  EXPECT_EQ(counts_of(source, 1), (counts{3, 3, 4, 5, 5, 0}));
  EXPECT_EQ(counts_of(source, 0), (counts{1, 2, 5, 0, 4, 4}));
}

TEST(loads_trace, json_gives_its_counts_and_fields) {
  temporary_folder folder;
  const auto source = open_trace(folder.write("a.json", small_trace));
  expect_small_trace(*source);
  EXPECT_EQ(source->top_k(), 2);
  EXPECT_EQ(source->tokens_per_step(0), 4);
  EXPECT_EQ(source->tokens_per_step(1), 5);
  EXPECT_NE(source->describe().find("toy: 2 layers x 3 experts, top-2, 2 steps"), std::string::npos)
      << source->describe();
}

TEST(loads_trace, gzip_is_told_by_content_and_may_have_several_members) {
  temporary_folder folder;
  expect_small_trace(*open_trace(folder.write("named_wrong.json", gzip(small_trace))));
  const std::string_view text = small_trace;
  expect_small_trace(*open_trace(
      folder.write("b.json.gz", gzip(text.substr(0, 100)) + gzip("") + gzip(text.substr(100)))));
}

TEST(loads_trace, plain_json_of_steps_alone_opens) {
  temporary_folder folder;
  const auto source = open_trace(folder.write("a.json", R"({"steps":[[[7]]]})"));
  EXPECT_EQ(source->top_k(), 0);
  EXPECT_EQ(source->tokens_per_step(0), 0);
  EXPECT_EQ(counts_of(*source, 0), counts{7});
}

TEST(loads_trace, tokens_follow_from_sums_when_only_top_k_is_known) {
  temporary_folder folder;
  const auto source =
      open_trace(folder.write("a.json", R"({"steps":[[[3,4],[1,1]],[[0,0],[0,0]]],"topk":2})"));
  EXPECT_EQ(source->tokens_per_step(0), 4);
  EXPECT_EQ(source->tokens_per_step(1), 0);
}

TEST(loads_trace, the_largest_load_survives) {
  temporary_folder folder;
  const auto source = open_trace(folder.write(
      "a.json",
      R"({"steps":[[[4611686018427387904,0]],[[0,255]],[[256,65536]],[[4294967296,1]]]})"));
  EXPECT_EQ(counts_of(*source, 0), (counts{load_max, 0}));
  EXPECT_EQ(counts_of(*source, 1), (counts{0, 255}));
  EXPECT_EQ(counts_of(*source, 2), (counts{256, 65536}));
  EXPECT_EQ(counts_of(*source, 3), (counts{std::int64_t{1} << 32, 1}));
}

TEST(loads_trace, steps_larger_than_a_memory_block_are_kept) {
  temporary_folder folder;
  std::string row = "[70000";
  for (int i = 1; i < 60000; ++i) row += fmt::format(",{}", i);
  row += "]";
  std::string text = "{\"steps\":[";
  for (int step = 0; step < 8; ++step) text += (step == 0 ? "[" : ",[") + row + "," + row + "]";
  const auto source = open_trace(folder.write("a.json", text + "]}"));
  ASSERT_EQ(source->steps(), 8);
  for (int step : {7, 0, 3}) {
    const counts read = counts_of(*source, step);
    EXPECT_EQ(read[0], 70000);
    EXPECT_EQ(read[60000 + 59999], 59999);
  }
}

// The bound on a single value must not count what other values take.
TEST(loads_trace, a_trace_longer_than_the_longest_value_opens) {
  temporary_folder folder;
  std::string step = "[[7";
  for (int i = 1; i < 1000; ++i) step += ",7";
  step += "]]";
  std::string text = "{\"steps\":[" + step;
  while (text.size() < std::size_t{18} << 20) text += "," + step;
  const auto source = open_trace(folder.write("long.json.gz", gzip(text + "]}")));
  EXPECT_GT(source->steps(), 9000);
  EXPECT_EQ(counts_of(*source, source->steps() - 1), counts(1000, 7));
}

TEST(loads_trace, asking_outside_is_an_error) {
  temporary_folder folder;
  const auto source = open_trace(folder.write("a.json", small_trace));
  counts out(6);
  EXPECT_THROW(source->counts(2, out), std::invalid_argument);
  EXPECT_THROW(source->counts(-1, out), std::invalid_argument);
  out.resize(5);
  EXPECT_THROW(source->counts(0, out), std::invalid_argument);
}

template <typename Value>
void expect_npy(const temporary_folder& folder, const std::string& descr) {
  SCOPED_TRACE(descr);
  const std::vector<Value> c_order = {1, 2, 5, 0, 4, 4, 3, 3, 4, 5, 5, 0};
  const std::vector<Value> fortran_order = {1, 3, 0, 5, 2, 3, 4, 5, 5, 4, 4, 0};
  const std::string end = ", 'shape': (2, 2, 3), }";
  for (const int version : {1, 2, 3}) {
    const std::string start = "{'descr': '" + descr + "', 'fortran_order': ";
    expect_small_trace(
        *open_trace(folder.write("c.npy", npy(start + "False" + end, bytes_of(c_order), version))));
    expect_small_trace(*open_trace(
        folder.write("f.npy", npy(start + "True" + end, bytes_of(fortran_order), version))));
  }
}

TEST(loads_trace, npy_of_every_type_order_and_version_gives_its_counts) {
  temporary_folder folder;
  expect_npy<std::int8_t>(folder, "|i1");
  expect_npy<std::uint8_t>(folder, "|u1");
  expect_npy<std::int16_t>(folder, "<i2");
  expect_npy<std::uint16_t>(folder, "<u2");
  expect_npy<std::int32_t>(folder, "<i4");
  expect_npy<std::uint32_t>(folder, "<u4");
  expect_npy<std::int64_t>(folder, "<i8");
  expect_npy<std::uint64_t>(folder, "<u8");
  expect_npy<float>(folder, "<f4");
  expect_npy<double>(folder, "<f8");
}

TEST(loads_trace, npy_written_here_is_read_back) {
  const temporary_folder folder;
  const std::vector<std::int64_t> loads = {0, 1, load_max, 0, 258, 1 << 20};
  const std::string text = npy_text({3, 1, 2}, loads);
  EXPECT_EQ((text.size() - 48) % 64, 0u) << "NumPy's header ends on a multiple of 64 bytes";
  const auto source = open_trace(folder.write("a.npy", text));
  ASSERT_EQ(source->steps(), 3);
  ASSERT_EQ(source->layers(), 1);
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(counts_of(*source, step),
              (std::vector<std::int64_t>{loads[2 * step], loads[2 * step + 1]}));
  }
}

TEST(loads_trace, npy_reads_half_floats_and_big_endian) {
  temporary_folder folder;
  // 1, 2, 1024, 65504, 0 and -0 as IEEE half precision.
  const std::vector<std::uint16_t> halves = {0x3c00, 0x4000, 0x6400, 0x7bff, 0x0000, 0x8000};
  const auto half = open_trace(folder.write(
      "h.npy", npy("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3)}", bytes_of(halves))));
  EXPECT_EQ(counts_of(*half, 0), (counts{1, 2, 1024, 65504, 0, 0}));
  const std::string big("\0\0\0\x01\0\0\x01\0", 8);
  const auto swapped = open_trace(
      folder.write("b.npy", npy("{'shape': (1, 2), 'fortran_order': False, 'descr': '>i4'}", big)));
  EXPECT_EQ(counts_of(*swapped, 0), (counts{1, 256}));
}

TEST(loads_trace, npy_of_two_dimensions_is_one_step) {
  temporary_folder folder;
  const std::vector<std::int32_t> values = {1, 2, 3, 4, 5, 6};
  const auto plain = open_trace(folder.write(
      "a.npy",
      npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", bytes_of(values))));
  EXPECT_EQ(plain->steps(), 1);
  EXPECT_EQ(counts_of(*plain, 0), (counts{1, 2, 3, 4, 5, 6}));
  const auto transposed = open_trace(folder.write(
      "b.npy.gz",
      gzip(npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }", bytes_of(values)))));
  EXPECT_EQ(counts_of(*transposed, 0), (counts{1, 3, 5, 2, 4, 6}));
}

struct real_trace {
  const char* file;
  int layers, experts, top_k, steps;
  std::int64_t total;
};

class loads_real_trace : public testing::TestWithParam<real_trace> {};

TEST_P(loads_real_trace, has_the_documented_shape_and_sums) {
  const real_trace& expected = GetParam();
  const std::string path = std::string(BALLAST_SHARED_DIR) + "/data/traces/" + expected.file;
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "missing: " << path;
  const auto source = open_trace(path);
  ASSERT_EQ(source->layers(), expected.layers);
  ASSERT_EQ(source->experts(), expected.experts);
  EXPECT_EQ(source->top_k(), expected.top_k);
  ASSERT_EQ(source->steps(), expected.steps);
  std::int64_t total = 0;
  for (std::int64_t step = 0; step < source->steps(); ++step) {
    const counts read = counts_of(*source, step);
    for (int layer = 0; layer < expected.layers; ++layer) {
      const auto row = read.begin() + std::int64_t{layer} * expected.experts;
      const std::int64_t sum = std::accumulate(row, row + expected.experts, std::int64_t{0});
      ASSERT_EQ(sum, source->tokens_per_step(step) * expected.top_k)
          << "step " << step << " layer " << layer;
      total += sum;
    }
  }
  EXPECT_EQ(total, expected.total);
}

INSTANTIATE_TEST_SUITE_P(
    shared, loads_real_trace,
    testing::Values(real_trace{"dsv2lite_prefill512_mixed.json", 26, 64, 6, 64, 5111808},
                    real_trace{"gptoss20b_decode_b64_mixed.json.gz", 24, 32, 4, 2142, 13160448},
                    real_trace{"qwen3_30b_a3b_mbolt.json", 48, 128, 8, 1, 29096832},
                    real_trace{"glm52_mbolt.json", 75, 256, 8, 1, 762000},
                    real_trace{"olmoe_domains_3layers.json", 3, 64, 8, 8, 39845016},
                    real_trace{"mixtral8x7b_domains_3layers.json", 3, 8, 2, 5, 6266880}));

}  // namespace
}  // namespace ballast
