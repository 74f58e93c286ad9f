// Traces that must not open: each gives one line naming file, field and value, whatever is in it.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>

#include "jobs/loads/trace.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

void expect_error(const std::string& path, std::string_view expected,
                  const trace_limits& limits = {}) {
  const std::string error = error_of_opening(path, limits);
  EXPECT_TRUE(error.starts_with(path + ": ")) << error;
  EXPECT_NE(error.find(expected), std::string::npos)
      << "wanted: " << expected << "\n   got: " << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

TEST(loads_bad_trace, what_is_not_a_readable_file_is_named) {
  temporary_folder folder;
  expect_error(folder.path("none.json"), "cannot be opened: No such file");
  std::filesystem::create_directory(folder.path("dir.json"));
  expect_error(folder.path("dir.json"), "is a directory");
  ASSERT_EQ(mkfifo(folder.path("pipe.json").c_str(), 0600), 0);
  expect_error(folder.path("pipe.json"), "is not a regular file");
  expect_error(folder.write("empty.json", ""), "is empty");
  expect_error(folder.write("a.npz", "PK\x03\x04 and more"), "zip archive");
  EXPECT_EQ(error_of_opening(""), ": the file name is empty");
}

TEST(loads_bad_trace, an_unreadable_file_is_named) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads files of any mode";
  temporary_folder folder;
  const std::string path = folder.write("secret.json", "{}");
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  expect_error(path, "cannot be opened: Permission denied");
}

TEST(loads_bad_trace, json_errors_name_field_and_value) {
  const struct {
    const char* text;
    const char* expected;
  } cases[] = {
      {R"({"steps": [[[1, 2], [3, )", "not JSON at byte 25, in steps[0][1][1]"},
      {"loads = 3", "not JSON at byte 1"},
      {"\xff\xfe\x7b", "not JSON"},
      {R"({"steps": [[[1]]]} x)", "not JSON at byte 20"},
      {R"({"steps": [[[1]]]}{"steps": [[[1]]]})", "not JSON"},
      {"[[[1]]]", "must be a JSON object with \"steps\", not a list"},
      {"3", "must be a JSON object with \"steps\", not the number 3"},
      {"null", "must be a JSON object with \"steps\", not null"},
      {"{}", "has no field \"steps\""},
      {R"({"steps": {}})", "steps must be a list of steps, not an object"},
      {R"({"steps": null})", "steps must be a list of steps, not null"},
      {R"({"steps": []})", "steps has no step"},
      {R"({"steps": [[]]})", "steps[0] has no layers"},
      {R"({"steps": [[[]]]})", "steps[0][0] has no experts"},
      {R"({"steps": [[1, 2]]})",
       "steps[0][0] must be a list of counts, one per expert, not the number 1"},
      {R"({"steps": [3]})", "steps[0] must be a list of layers, not the number 3"},
      {R"({"steps": [[[1], [[2]]]]})", "steps[0][1][0] must be a number, not a list"},
      {R"({"steps": [[[1, "2"]]]})", "steps[0][0][1] must be a number, not \"2\""},
      {R"({"steps": [[[1, true]]]})", "steps[0][0][1] must be a number, not true"},
      {R"({"steps": [[[1, null]]]})", "steps[0][0][1] must be a number, not null"},
      {R"({"steps": [[[1, {}]]]})", "steps[0][0][1] must be a number, not an object"},
      {R"({"steps": [[[1, 2], [3]]]})", "steps[0][1] has 1 experts, steps[0][0] has 2"},
      {R"({"steps": [[[1], [2]], [[3]]]})", "steps[1] has 1 layers, steps[0] has 2"},
      {R"({"steps": [[[1, -4]]]})", "steps[0][0][1] is -4: must not be negative"},
      {R"({"steps": [[[1, -0.5]]]})", "steps[0][0][1] is -0.5: must not be negative"},
      {R"({"steps": [[[1, 2.5]]]})", "steps[0][0][1] is 2.5: must be a whole number"},
      {R"({"steps": [[[1, 1e-400]], [[1e17, 1]]]})", "steps[1][0][0] is 1e17: too large"},
      {R"({"steps": [[[1, 1e999]]]})", "in steps[0][0][1]: number overflow"},
      {R"({"steps": [[[NaN]]]})", "not JSON at byte 14, in steps[0][0][0]"},
      {R"({"steps": [[[Infinity]]]})", "not JSON"},
      {R"({"steps": [[[4611686018427387905]]]})",
       "steps[0][0][0] is 4611686018427387905: larger than 2^62"},
      {R"({"steps": [[[18446744073709551615]]]})", "is 18446744073709551615: larger than 2^62"},
      {R"({"steps": [[[99999999999999999999]]]})", "is 99999999999999999999: too large"},
      {R"({"steps": [[[1, 1]], [[4611686018427387904, 1]]]})",
       "steps[1][0]: its counts sum to more than 2^62"},
      {R"({"layers": 0, "steps": [[[1]]]})", "layers is 0: must be 1 to 4096"},
      {R"({"layers": -1, "steps": [[[1]]]})", "layers is -1: must not be negative"},
      {R"({"layers": "2", "steps": [[[1]]]})", "layers must be a number, not \"2\""},
      {R"({"layers": [2], "steps": [[[1]]]})", "layers must be a number, not a list"},
      {R"({"layers": 2, "steps": [[[1]]]})", "layers is 2, but steps holds 1"},
      {R"({"steps": [[[1]]], "experts": 2})", "experts is 2, but steps holds 1"},
      {R"({"steps": [[[1]]], "experts": 0})", "experts is 0: must be 1 to 65536"},
      {R"({"steps": [[[1]]], "n_steps": 3})", "n_steps is 3, but steps holds 1"},
      {R"({"steps": [[[1]]], "topk": 2})", "topk is 2, but there are 1 experts"},
      {R"({"steps": [[[1]]], "topk": 0})", "topk is 0: must be 1"},
      {R"({"steps": [[[1]]], "tokens_per_step": [1, 2]})",
       "tokens_per_step has 2 entries, steps 1"},
      {R"({"steps": [[[1]]], "tokens_per_step": 1})",
       "tokens_per_step must be a list of token numbers"},
      {R"({"steps": [[[1]]], "tokens_per_step": [-1]})",
       "tokens_per_step[0] is -1: must not be negative"},
      {R"({"steps": [[[1]]], "tokens_per_step": [[1]]})",
       "tokens_per_step[0] must be a number, not a list"},
      {R"({"steps": [[[1]]], "model": 3})", "model must be text, not the number 3"},
      {R"({"steps": [[[1]]], "steps": [[[2]]]})", "field \"steps\" appears twice"},
      {R"({"note": 1, "steps": [[[1]]], "note": 2})", "field \"note\" appears twice"},
      {"{\"a\nb\": 1}", "not JSON"},
  };
  temporary_folder folder;
  for (const auto& test : cases) {
    SCOPED_TRACE(test.text);
    expect_error(folder.write("a.json", test.text), test.expected);
  }
}

TEST(loads_bad_trace, a_nul_byte_does_not_end_the_text) {
  temporary_folder folder;
  const std::string text = R"({"steps": [[[1]]]})";
  expect_error(folder.write("a.json", text + std::string(1, '\0') + "garbage"), "byte 18 is NUL");
}

TEST(loads_bad_trace, nesting_and_fields_are_bounded) {
  temporary_folder folder;
  expect_error(folder.write("deep.json", "{\"x\": " + std::string(1000, '[')),
               "nests deeper than 64 levels");
  std::string object = "{\"x\": ";
  for (int i = 0; i < 100; ++i) object += "{\"y\": ";
  expect_error(folder.write("objects.json", object), "nests deeper than 64 levels");
  std::string many = "{";
  for (int i = 0; i < 2000; ++i) many += "\"f" + std::to_string(i) + "\": 1, ";
  expect_error(folder.write("many.json", many), "more than 1024 fields");
  expect_error(folder.write("name.json", "{\"" + std::string(300, 'n') + "\": 1}"),
               "a name of more than 256 bytes");
}

TEST(loads_bad_trace, a_small_file_cannot_fill_the_memory) {
  temporary_folder folder;
  const std::string text =
      gzip("{\"note\": \"" + std::string(std::size_t{20} << 20, 'x') + "\", \"steps\": [[[1]]]}");
  ASSERT_LT(text.size(), 100u << 10);
  expect_error(folder.write("string.json.gz", text), "a single value of more than 16777216 bytes");
  const std::string blanks =
      gzip("{ " + std::string(std::size_t{20} << 20, ' ') + "\"steps\": [[[1]]]}");
  expect_error(folder.write("blanks.json.gz", blanks),
               "a single value of more than 16777216 bytes");
}

TEST(loads_bad_trace, limits_are_enforced) {
  temporary_folder folder;
  const std::string text = R"({"steps": [[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]]})";
  const std::string path = folder.write("a.json", text);
  const std::string zipped = folder.write("a.json.gz", gzip(text));
  const std::string array = folder.write(
      "a.npy",
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3)}", std::string(12, '\1')));
  trace_limits limits;
  limits.file_bytes = 20;
  expect_error(path, "has 59 bytes, at most 20 are read", limits);
  expect_error(zipped, "at most 20 are read", limits);
  limits = {};
  limits.plain_bytes = 30;
  expect_error(zipped, "holds more than 30 bytes when decompressed", limits);
  limits = {};
  limits.layers = 1;
  expect_error(path, "steps[0][1]: more than 1 layers", limits);
  expect_error(array, "shape has 2 layers: must be 1 to 1", limits);
  limits = {};
  limits.experts = 2;
  expect_error(path, "steps[0][0][2]: more than 2 experts", limits);
  expect_error(array, "shape has 3 experts: must be 1 to 2", limits);
  limits = {};
  limits.steps = 1;
  expect_error(path, "steps[1]: more than 1 steps", limits);
  expect_error(array, "shape has 2 steps: must be 1 to 1", limits);
  limits = {};
  limits.cells = 11;
  expect_error(path, "steps[1][1][2]: more than 11 counts in all", limits);
  expect_error(array, "shape has more than 11 counts in all", limits);
  limits.cells = 12;
  EXPECT_EQ(error_of_opening(path, limits), "opened");
  EXPECT_EQ(error_of_opening(array, limits), "opened");
}

TEST(loads_bad_trace, damaged_gzip_is_named) {
  temporary_folder folder;
  const std::string good = gzip(R"({"steps": [[[1, 2, 3]]]})");
  for (std::size_t size = 2; size < good.size(); ++size) {
    expect_error(folder.write("cut.json.gz", good.substr(0, size)), "gzip data ends early");
  }
  std::string wrong_sum = good;
  wrong_sum[good.size() - 8] ^= 1;
  expect_error(folder.write("sum.json.gz", wrong_sum), "gzip data is damaged");
  expect_error(folder.write("tail.json.gz", good + "tail"), "has other bytes after its gzip data");
}

TEST(loads_bad_trace, npy_errors_name_field_and_value) {
  const std::string type = "{'descr': '<i4', 'fortran_order': False, 'shape': ";
  const std::string data(24, '\1');
  const struct {
    std::string header;
    std::string data;
    const char* expected;
  } cases[] = {
      {type + "(2, 3)}", data.substr(1), "is cut short: the data has 23 of 24 bytes"},
      {type + "(2, 3)}", data + "x", "has bytes after its data"},
      {type + "(6,)}", data, "shape has 1 dimensions"},
      {type + "()}", data, "shape has 0 dimensions"},
      {type + "(1, 1, 2, 3)}", data, "shape has 4 dimensions"},
      {type + "(1, 1, 1, 1, 1, 1, 1, 1, 1)}", data, "more than 8 dimensions"},
      {type + "(0, 3)}", "", "shape has 0 layers: must be 1 to 4096"},
      {type + "(2, 0)}", "", "shape has 0 experts: must be 1 to 65536"},
      {type + "(0, 2, 3)}", "", "shape has 0 steps"},
      {type + "(-2, 3)}", data, "expected a size in 'shape'"},
      {type + "(99999999999999999999, 3)}", data, "expected a size in 'shape'"},
      {type + "(16777216, 4096, 65536)}", data, "shape has more than 2147483648 counts in all"},
      {type + "(2, 3", data, "expected ',' or ')'"},
      {type + "(2 3)}", data, "expected ',' or ')'"},
      {type + "(2, 3)", data, "expected ',' or '}'"},
      {type + "(2, 3)} more", data, "has text after the dictionary"},
      {type + "(2, 3), 'shape': (2, 3)}", data, "has 'shape' twice"},
      {type + "(2, 3), 'extra': 1}", data, "has an unknown field 'extra'"},
      {"{'descr': '<i4', 'shape': (2, 3)}", data, "has no 'fortran_order'"},
      {"{'descr': '<i4', 'fortran_order': False}", data, "has no 'shape'"},
      {"{'shape': (2, 3), 'fortran_order': False}", data, "has no 'descr'"},
      {"{'descr': '<i4', 'fortran_order': 0, 'shape': (2, 3)}", data, "expected True or False"},
      {"{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2, 3)}", data,
       "'descr' is a record"},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", data, "'descr' is '|O'"},
      {"{'descr': '<c8', 'fortran_order': False, 'shape': (1, 3)}", data, "'descr' is '<c8'"},
      {"{'descr': '<i3', 'fortran_order': False, 'shape': (2, 3)}", data, "'descr' is '<i3'"},
      {"{'descr': '<f1', 'fortran_order': False, 'shape': (2, 3)}", data, "'descr' is '<f1'"},
      {"{'descr': '|i4', 'fortran_order': False, 'shape': (2, 3)}", data, "'descr' is '|i4'"},
      {"{'descr: 3", data, "has an unfinished name"},
      {"descr", data, "expected '{'"},
      {"", data, "expected '{'"},
      {type + "(1, 3)}", bytes_of(std::vector<std::int32_t>{1, -7, 2}),
       "[0][1] is -7: must not be negative"},
      {"{'descr': '|i1', 'fortran_order': False, 'shape': (2, 1, 1)}", "\x01\x80",
       "[1][0][0] is -128: must not be negative"},
      {"{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1)}",
       bytes_of(std::vector<std::int64_t>{-1}), "[0][0] is -1"},
      {"{'descr': '<u8', 'fortran_order': False, 'shape': (1, 1)}",
       bytes_of(std::vector<std::uint64_t>{~0ull}),
       "[0][0] is 18446744073709551615: larger than 2^62"},
      {"{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2)}",
       bytes_of(std::vector<std::int64_t>{load_max, 1}),
       "steps[0][0]: its counts sum to more than 2^62"},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}",
       bytes_of(std::vector<double>{1, 2.5}), "[0][1] is 2.5: must be a whole"},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}",
       bytes_of(std::vector<double>{1, 0.0 / 0.0 * -1}), "must be finite"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
       bytes_of(std::vector<float>{1e30f}), "larger than 2^62"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
       bytes_of(std::vector<float>{-2}), "[0][0] is -2: must not be negative"},
      {"{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1)}",
       bytes_of(std::vector<std::uint16_t>{0x7c00}), "is inf: must be finite"},
      {"{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1)}",
       bytes_of(std::vector<std::uint16_t>{0x3800}), "is 0.5: must be a whole"},
  };
  temporary_folder folder;
  for (const auto& test : cases) {
    SCOPED_TRACE(test.header);
    expect_error(folder.write("a.npy", npy(test.header, test.data)), test.expected);
  }
  const std::string good = npy(type + "(2, 3)}", data);
  for (std::size_t size = 6; size < good.size(); ++size) {
    expect_error(folder.write("cut.npy", good.substr(0, size)), "is cut short");
  }
  std::string version = good;
  version[6] = 9;
  expect_error(folder.write("version.npy", version), "is .npy version 9.0");
  expect_error(folder.write("long.npy", std::string("\x93NUMPY\x02\0\xff\xff\xff\x7f", 12) + good),
               "header has 2147483647 bytes");
}

// Flips, cuts, repeats and inserts bytes of good files: opening either succeeds, and then every
// step can be read, or gives one line.
TEST(loads_bad_trace, any_damage_gives_an_error_or_a_readable_trace) {
  const std::string json =
      R"({"layers": 2, "experts": 2, "topk": 1, "tokens_per_step": [3], "m": {"a": [1.5]}, "steps": [[[1, 2], [3, 0]]]})";
  const std::string array = npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2, 2), }",
                                bytes_of(std::vector<float>{1, 2, 3, 0}));
  const std::string originals[] = {json, gzip(json), array, gzip(array)};
  temporary_folder folder;
  constexpr unsigned seed = 20261122;
  std::mt19937_64 random(seed);
  int opened = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string file = originals[round % 4];
    for (std::uint64_t edits = 1 + random() % 3; edits > 0 && !file.empty(); --edits) {
      const std::size_t at = random() % file.size();
      switch (random() % 5) {
        case 0:
          file[at] = static_cast<char>(file[at] ^ (1 << random() % 8));
          break;
        case 1:
          file[at] = static_cast<char>(random());
          break;
        case 2:
          file.resize(at);
          break;
        case 3:
          file.insert(at, file.substr(at, random() % 9));
          break;
        default:
          file.insert(at, 1, "0123456789[]{},:\"-.eE'() "[random() % 25]);
          break;
      }
    }
    const std::string path = folder.write("m", file);
    try {
      const auto source = open_trace(path);
      for (std::int64_t step = 0; step < source->steps(); ++step) {
        for (const std::int64_t count : counts_of(*source, step))
          ASSERT_GE(count, 0) << "seed " << seed << " round " << round;
      }
      ++opened;
    } catch (const std::invalid_argument& error) {
      const std::string text = error.what();
      ASSERT_TRUE(text.starts_with(path + ": ") && text.find('\n') == std::string::npos)
          << "seed " << seed << " round " << round << ": " << text;
    }
  }
  EXPECT_GT(opened, 100);
  EXPECT_LT(opened, 4000);
}

}  // namespace
}  // namespace ballast
