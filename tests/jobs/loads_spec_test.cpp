// A generator's specification and a window are read whole or refused with key and value; windows
// are summed exactly.

#include <gtest/gtest.h>

#include "jobs/loads/generator.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

std::string error_of_spec(std::string_view text) {
  try {
    make_generator(text);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "made";
}

TEST(loads_spec, the_documented_one_is_read_and_written_back) {
  const std::string text =
      "model=deepseek-v3,marginal=gamma,cv=1.01,drift=0.05,domains=3,domain_steps=100,tokens_per_"
      "step=512,noise=15,"
      "steps=10,seed=18446744073709551615";
  const generator_spec spec = parse_generator_spec(text);
  EXPECT_EQ(spec.shape, marginal::gamma);
  EXPECT_EQ(spec.seed, ~0ull);
  EXPECT_EQ(to_string(spec), text);
  EXPECT_EQ(to_string(parse_generator_spec("")),
            "model=deepseek-v3,marginal=lognormal,cv=0.78,drift=0.02,domains=4,domain_steps=200,"
            "tokens_per_step=4096,noise=1,"
            "steps=1000,seed=1");
}

TEST(loads_spec, shape_comes_from_the_model_unless_given) {
  const auto source = make_generator("model=qwen3-30b-fp8,layers=2,top_k=3");
  EXPECT_EQ(source->layers(), 2);
  EXPECT_EQ(source->experts(), 128);
  EXPECT_EQ(source->top_k(), 3);
  EXPECT_EQ(source->describe().find("generated: model=qwen3-30b-fp8,layers=2,experts=128,top_k=3,"),
            0u)
      << source->describe();
}

TEST(loads_spec, errors_name_key_and_value) {
  const struct {
    const char* text;
    const char* expected;
  } cases[] = {
      {"colour=red", "unknown key \"colour\"; known: model, layers"},
      {"cv", "\"cv\" must have the form key=value"},
      {"cv=", "\"cv=\" must have the form key=value"},
      {"=3", "\"=3\" must have the form key=value"},
      {"cv=1,,seed=1", "\"\" must have the form key=value"},
      {"cv=1,", "ends with a comma"},
      {",", "must have the form key=value"},
      {"cv=1,cv=1", "cv is given twice"},
      {"model=none", "unknown model \"none\"; known"},
      {"marginal=normal", "marginal=normal is unknown; known: lognormal, gamma, zipf, uniform"},
      {"cv=nan", "cv=nan must be 0 to 3"},
      {"cv=inf", "cv=inf must be 0 to 3"},
      {"cv=-1", "cv=-1 must be 0 to 3"},
      {"cv=1e999", "cv=1e999 is out of range"},
      {"cv=1x", "cv=1x is not a number"},
      {"cv= 1", "cv= 1 is not a number"},
      {"drift=1.5", "drift=1.5 must be 0 to 1"},
      {"noise=-1", "noise=-1 must be 0 to"},
      {"noise=1e9",
       "noise=1000000000 must be 0 to 1928.5 with 4096 tokens per step, top-8 of 256 experts"},
      {"steps=0", "steps=0 must be 1 to 1000000000"},
      {"steps=1.5", "steps=1.5 is not a whole number"},
      {"steps=99999999999999999999", "steps=99999999999999999999 is out of range"},
      {"domains=0", "domains=0 must be 1 to 64"},
      {"domain_steps=0", "domain_steps=0 must be 1"},
      {"tokens_per_step=0", "tokens_per_step=0 must be 1 to 16777216"},
      {"layers=0", "layers=0 must be 1 to 4096"},
      {"experts=65537", "experts=65537 must be 1 to 65536"},
      {"experts=4", "top_k=8 must be 1 to 4"},
      {"top_k=0", "top_k=0 must be 1 to 256"},
      {"seed=-1", "seed=-1 is not a whole number"},
      {"layers=4096,experts=65536",
       "layers=4096, experts=65536 and domains=4 need 1342177280 variables"},
      {"marginal=zipf,experts=2,top_k=1,cv=3",
       "generator: marginal=zipf over 2 experts: a layer would need cv"},
      {"cv=\x01\n", "cv=?? is not a number"},
  };
  for (const auto& test : cases) {
    const std::string error = error_of_spec(test.text);
    EXPECT_NE(error.find(test.expected), std::string::npos)
        << test.text << "\nwanted: " << test.expected << "\n   got: " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(loads_spec, a_spec_made_in_code_is_checked_too) {
  generator_spec spec;
  spec.tokens_per_step = -1;
  EXPECT_THROW(make_generator(spec), std::invalid_argument);
}

TEST(loads_window, forms_are_read) {
  EXPECT_EQ(parse_window("", 10), (step_window{0, 10}));
  EXPECT_EQ(parse_window(":", 10), (step_window{0, 10}));
  EXPECT_EQ(parse_window("2:5", 10), (step_window{2, 5}));
  EXPECT_EQ(parse_window("2:", 10), (step_window{2, 10}));
  EXPECT_EQ(parse_window(":5", 10), (step_window{0, 5}));
}

TEST(loads_window, wrong_forms_are_refused) {
  for (const char* text : {"3", "a:b", "1:2:3", "5:5", "6:5", "-1:5", "0:11", "1 :2",
                           "99999999999999999999:", "10:"}) {
    try {
      parse_window(text, 10);
      FAIL() << text;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }
}

TEST(loads_window, sums_are_those_of_the_steps) {
  const auto source = make_generator("layers=3,experts=17,top_k=2,steps=20,noise=2");
  std::vector<std::int64_t> expected(3 * 17), sums(3 * 17, -5);
  for (std::int64_t step = 4; step < 9; ++step) {
    const auto counts = counts_of(*source, step);
    for (std::size_t i = 0; i < counts.size(); ++i) expected[i] += counts[i];
  }
  sum_window(*source, {4, 9}, sums);
  EXPECT_EQ(sums, expected);
  EXPECT_THROW(sum_window(*source, {9, 9}, sums), std::invalid_argument);
  EXPECT_THROW(sum_window(*source, {0, 21}, sums), std::invalid_argument);
  sums.resize(50);
  EXPECT_THROW(sum_window(*source, {0, 1}, sums), std::invalid_argument);
}

TEST(loads_window, an_overflowing_sum_is_named) {
  temporary_folder folder;
  const auto source = open_trace(
      folder.write("a.json", R"({"steps":[[[1,0],[4611686018427387903,1]],[[1,0],[0,1]]]})"));
  std::vector<std::int64_t> sums(4);
  sum_window(*source, {0, 1}, sums);
  try {
    sum_window(*source, {0, 2}, sums);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "window 0:2: the loads of layer 1 sum to more than 2^62 at step 1");
  }
}

}  // namespace
}  // namespace ballast
