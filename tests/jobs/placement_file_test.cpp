// Placement files: what is written is read back, and every wrong file is refused by file, field and
// value.
#include "jobs/placement_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "jobs/exit_code.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

// 2 layers of 3 experts on 2 ranks of 2 slots.
placement_file small_file() {
  placement_file file;
  file.layers = 2;
  file.experts = 3;
  file.ranks = 2;
  file.slots_per_rank = 2;
  file.experts_of_slots = {0, 1, 2, 0, 2, 1, 0, -1};
  file.shares = {30000, 65536, 65536, 35536, 65536, 65536, 65536, 0};
  return file;
}

nlohmann::ordered_json small_document(const temporary_folder& folder) {
  write_placement_file(folder.path("small.json"), small_file());
  std::ifstream stream(folder.path("small.json"));
  return nlohmann::ordered_json::parse(stream);
}

// What is said about a file of this content, without the path that must begin it.
std::string refusal(const temporary_folder& folder, const std::string& content) {
  const std::string path = folder.write("bad.json", content);
  try {
    read_placement_file(path);
  } catch (const std::invalid_argument& e) {
    const std::string text = e.what();
    EXPECT_EQ(text.find(path + ": "), 0u) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    return text.substr(std::min(text.size(), path.size() + 2));
  }
  return "accepted";
}

void expect_equal(const placement_file& a, const placement_file& b, const std::string& what) {
  EXPECT_EQ(a.layers, b.layers) << what;
  EXPECT_EQ(a.experts, b.experts) << what;
  EXPECT_EQ(a.ranks, b.ranks) << what;
  EXPECT_EQ(a.slots_per_rank, b.slots_per_rank) << what;
  EXPECT_EQ(a.model, b.model) << what;
  EXPECT_EQ(a.experts_of_slots, b.experts_of_slots) << what;
  EXPECT_EQ(a.shares, b.shares) << what;
}

TEST(placement_file, what_was_written_is_read_back) {
  const temporary_folder folder;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    std::mt19937_64 random(seed);
    placement_file file;
    file.layers = static_cast<std::int32_t>(1 + random() % 5);
    file.experts = static_cast<std::int32_t>(1 + random() % 20);
    file.ranks = static_cast<std::int32_t>(1 + random() % 7);
    file.slots_per_rank = static_cast<std::int32_t>(1 + random() % 5);
    if (seed % 2 == 0) file.model = "a \"model\"\n";
    for (int i = 0; i < file.layers * file.ranks * file.slots_per_rank; ++i) {
      file.experts_of_slots.push_back(static_cast<std::int32_t>(random() % (file.experts + 1)) - 1);
      file.shares.push_back(static_cast<std::int32_t>(random() % 65537));
    }
    const std::string path = folder.path("round.json");
    write_placement_file(path, file);
    expect_equal(read_placement_file(path), file, "seed " + std::to_string(seed));
  }
}

TEST(placement_file, written_file_has_the_documented_fields) {
  const temporary_folder folder;
  const nlohmann::ordered_json document = small_document(folder);
  EXPECT_EQ(document["schema"], "ballast.placement/1");
  EXPECT_EQ(document["version"], ballast_version());
  EXPECT_EQ(document["placement"], (nlohmann::json{{0, 1, 2, 0}, {2, 1, 0, -1}}));
  EXPECT_EQ(document["shares"],
            (nlohmann::json{{30000, 65536, 65536, 35536}, {65536, 65536, 65536, 0}}));
  EXPECT_FALSE(document.contains("model"));
}

TEST(placement_file, fields_missing_or_out_of_range_are_named) {
  const temporary_folder folder;
  const nlohmann::ordered_json good = small_document(folder);
  ASSERT_EQ(refusal(folder, good.dump()), "accepted");
  for (const char* field :
       {"layers", "experts", "ranks", "slots_per_rank", "placement", "shares"}) {
    nlohmann::ordered_json document = good;
    document.erase(field);
    EXPECT_EQ(refusal(folder, document.dump()), std::string(field) + " is missing");
  }
  const auto with = [&](const char* field, const nlohmann::json& value) {
    nlohmann::ordered_json document = good;
    document[field] = value;
    return refusal(folder, document.dump());
  };
  EXPECT_EQ(with("schema", "ballast.plan/1"),
            "schema is \"ballast.plan/1\", expected \"ballast.placement/1\"");
  EXPECT_EQ(with("schema", nullptr), "schema is null, expected \"ballast.placement/1\"");
  EXPECT_EQ(with("layers", 0), "layers is 0, expected 1 to 4096");
  EXPECT_EQ(with("layers", -1), "layers is -1, expected 1 to 4096");
  EXPECT_EQ(with("layers", 4097), "layers is 4097, expected 1 to 4096");
  EXPECT_EQ(with("layers", 2.0), "layers is 2.0, expected 1 to 4096");
  EXPECT_EQ(with("layers", "2"), "layers is \"2\", expected 1 to 4096");
  EXPECT_EQ(with("experts", 65537), "experts is 65537, expected 1 to 65536");
  EXPECT_EQ(with("ranks", 18446744073709551615ull),
            "ranks is 18446744073709551615, expected 1 to 16384");
  EXPECT_EQ(with("ranks", 4294967298ll), "ranks is 4294967298, expected 1 to 16384");
  EXPECT_EQ(with("slots_per_rank", nlohmann::json{2, 2}), "accepted") << "one for each rank";
  EXPECT_EQ(with("slots_per_rank", nlohmann::json{2, 3}),
            "slots_per_rank[1] is 3, that of rank 0 is 2; ranks with different numbers of slots "
            "cannot be planned from a file");
  EXPECT_EQ(with("slots_per_rank", nlohmann::json{2, 2, 2}),
            "slots_per_rank has 3 entries, expected 2 (ranks)");
  EXPECT_EQ(with("slots_per_rank", nlohmann::json{2, 0}),
            "slots_per_rank[1] is 0, expected 1 to 2048");
  EXPECT_EQ(with("model", 5), "model is 5, expected a text");
  EXPECT_EQ(with("model", "deepseek-v3"), "accepted");
  EXPECT_EQ(with("layers", 3), "placement has 2 rows, expected 3 (layers)");
  EXPECT_EQ(with("ranks", 3), "placement[0] has 4 entries, expected 6 (ranks * slots_per_rank)");
  EXPECT_EQ(with("placement", 7), "placement has 0 rows, expected 2 (layers)");
  EXPECT_EQ(with("placement", nlohmann::json{{0, 1, 2, 0}, 5}),
            "placement[1] has 0 entries, expected 4 (ranks * slots_per_rank)");
  EXPECT_EQ(with("experts", 2), "placement[0][2] is 2, expected -1 to 1");
}

TEST(placement_file, entries_out_of_range_are_named) {
  const temporary_folder folder;
  const nlohmann::ordered_json good = small_document(folder);
  const auto with = [&](const char* field, const nlohmann::json& value) {
    nlohmann::ordered_json document = good;
    document[field][1][2] = value;
    return refusal(folder, document.dump());
  };
  for (const nlohmann::json& value :
       {nlohmann::json(3), nlohmann::json(-2), nlohmann::json(1.5), nlohmann::json("0"),
        nlohmann::json(nullptr), nlohmann::json(true), nlohmann::json(18446744073709551615ull),
        nlohmann::json(4294967296ll)}) {
    EXPECT_EQ(with("placement", value),
              "placement[1][2] is " + value.dump() + ", expected -1 to 2");
  }
  for (const nlohmann::json& value :
       {nlohmann::json(-1), nlohmann::json(65537), nlohmann::json(18446744073709551615ull)}) {
    EXPECT_EQ(with("shares", value), "shares[1][2] is " + value.dump() + ", expected 0 to 65536");
  }
}

TEST(placement_file, what_is_no_json_object_is_refused) {
  const temporary_folder folder;
  const std::string good = small_document(folder).dump();
  for (const std::string& content : {std::string(), std::string("hello"), std::string("[]"),
                                     std::string("7"), std::string("\0\xff", 2)}) {
    EXPECT_EQ(refusal(folder, content), "is not a JSON object");
  }
  for (std::size_t cut = 1; cut < good.size(); cut += 7) {
    EXPECT_EQ(refusal(folder, good.substr(0, good.size() - cut)), "is not a JSON object")
        << cut << " bytes short";
  }
  EXPECT_EQ(refusal(folder, std::string(100000, '[')), "nested deeper than 16");
}

TEST(placement_file, small_file_that_claims_a_huge_shape_is_refused_cheaply) {
  const temporary_folder folder;
  nlohmann::ordered_json document = small_document(folder);
  document["layers"] = 4096;
  document["ranks"] = 16384;
  document["slots_per_rank"] = 2048;
  document["placement"] = std::vector<std::vector<int>>(4096);
  EXPECT_EQ(refusal(folder, document.dump()),
            "placement[0] has 0 entries, expected 33554432 (ranks * slots_per_rank)");
}

TEST(placement_file, missing_files_folders_and_oversized_files_are_refused) {
  const temporary_folder folder;
  const auto text_of = [](const std::string& path) -> std::string {
    try {
      read_placement_file(path);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(text_of(folder.path("none.json")),
            folder.path("none.json") + ": No such file or directory");
  EXPECT_EQ(text_of(folder.path("")).find(folder.path("") + ": "), 0u);
  const std::string large = folder.write("large.json", "{");
  std::filesystem::resize_file(large, (std::uintmax_t{256} << 20) + 1);  // sparse
  EXPECT_EQ(text_of(large), large + ": 268435457 bytes, at most 268435456 are read");
}

TEST(placement_file, links_stay_and_what_is_no_file_is_not_replaced) {
  const temporary_folder folder;
  const std::string file = folder.write("file.json", "old");
  const std::string link = folder.path("link.json");
  std::filesystem::create_symlink(file, link);
  write_placement_file(link, small_file());
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(read_placement_file(file).experts, small_file().experts);

  const std::string pipe = folder.path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] {
    std::ifstream stream(pipe);
    read = {std::istreambuf_iterator<char>(stream), {}};
  });
  write_placement_file(pipe, small_file());
  reader.join();
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_EQ(read_placement_file(folder.write("read.json", read)).experts, small_file().experts);
}

TEST(placement_file, place_that_cannot_be_written_is_a_system_error_and_leaves_nothing) {
  const temporary_folder folder;
  try {
    write_placement_file(folder.path("no/such/folder.json"), small_file());
    FAIL() << "written";
  } catch (const job_error& e) {
    EXPECT_EQ(e.code(), exit_code::system);
    EXPECT_EQ(std::string(e.what()).find(folder.path("no/such/folder.json") + ": cannot create"),
              0u)
        << e.what();
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("")));
}

}  // namespace
}  // namespace ballast
