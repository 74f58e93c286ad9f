#include "runtime/agreement.hpp"

#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <type_traits>

#include "runtime/error.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {
namespace {

constexpr std::uint64_t magic = 0x62616c6c61737431ull;  // "ballast1"

constexpr double roll_call_seconds = 1.5;

struct record {
  std::uint64_t magic;
  std::int32_t status;
  std::int32_t field_count;
  std::int64_t fields[agreed_fields_max];
  char text[320];
};
static_assert(std::is_trivially_copyable_v<record>);

struct exchange_buffers {
  record own = {};
  std::vector<record> all;
};

[[noreturn]] void fall_silent(MPI_Comm comm, double deadline_seconds) {
  const std::string names = silent_ranks(comm, roll_call_seconds);
  throw error(BALLAST_ERROR_DEADLINE,
              fmt::format("start-up agreement: no answer from rank {} within {} s",
                          names.empty() ? "?" : names, deadline_seconds));
}

// "0-2, 5": long lists of ranks are cut.
std::string list_ranks(const std::vector<int>& ranks) {
  std::string text;
  for (std::size_t i = 0, shown = 0; i < ranks.size(); ++shown) {
    std::size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    if (shown == 8) return text + ", ...";
    text += fmt::format("{}{}", text.empty() ? "" : ", ", ranks[i]);
    if (j > i) text += fmt::format("-{}", ranks[j]);
    i = j + 1;
  }
  return text;
}

void compare(const std::vector<record>& all, const std::vector<agreed_field>& fields) {
  for (std::size_t f = 0; f < fields.size(); ++f) {
    std::vector<int> as_first;
    std::vector<int> differing;
    for (std::size_t r = 0; r < all.size(); ++r) {
      (all[r].fields[f] == all[0].fields[f] ? as_first : differing).push_back(static_cast<int>(r));
    }
    if (differing.empty()) continue;
    throw error(
        BALLAST_ERROR_CONFIG_MISMATCH,
        fmt::format("{} differs: {} on rank {}, {} on rank {}", fields[f].name, all[0].fields[f],
                    list_ranks(as_first), all[differing[0]].fields[f], list_ranks(differing)));
  }
}

}  // namespace

void agree(MPI_Comm comm, const verdict& mine, const std::vector<agreed_field>& fields,
           double deadline_seconds) {
  BALLAST_EXPECT(fields.size() <= agreed_fields_max, "too many agreed fields");
  // On the heap, so that they can be left to MPI when a rank never comes.
  auto buffers = std::make_unique<exchange_buffers>();
  record& own = buffers->own;
  own.magic = magic;
  own.status = mine.status;
  own.field_count = static_cast<std::int32_t>(fields.size());
  for (std::size_t f = 0; f < fields.size(); ++f) own.fields[f] = fields[f].value;
  std::strncpy(own.text, mine.text.c_str(), sizeof(own.text) - 1);

  int ranks = 0;
  BALLAST_MPI(MPI_Comm_size(comm, &ranks));
  std::vector<record>& all = buffers->all;
  all.resize(ranks);
  MPI_Request request = MPI_REQUEST_NULL;
  BALLAST_MPI(MPI_Iallgather(&own, sizeof(record), MPI_BYTE, all.data(), sizeof(record), MPI_BYTE,
                             comm, &request));
  if (!wait_until(request, deadline_seconds, nullptr)) {
    static_cast<void>(buffers.release());
    fall_silent(comm, deadline_seconds);
  }

  for (int r = 0; r < ranks; ++r) {
    if (all[r].magic != magic || (all[r].status == BALLAST_OK && mine.status == BALLAST_OK &&
                                  all[r].field_count != own.field_count)) {
      throw error(BALLAST_ERROR_CONFIG_MISMATCH,
                  fmt::format("rank {} runs another version of Ballast", r));
    }
  }
  for (int r = 0; r < ranks; ++r) {
    if (all[r].status == BALLAST_OK) continue;
    all[r].text[sizeof(all[r].text) - 1] = '\0';
    throw error(static_cast<ballast_status>(all[r].status),
                fmt::format("rank {}: {}", r, all[r].text));
  }
  compare(all, fields);
}

void minimise_over_ranks(MPI_Comm comm, std::vector<std::uint64_t>& values,
                         double deadline_seconds) {
  // On the heap, so that they can be left to MPI when a rank never comes.
  auto reduced = std::make_unique<std::vector<std::uint64_t>>(values);
  MPI_Request request = MPI_REQUEST_NULL;
  BALLAST_MPI(MPI_Iallreduce(MPI_IN_PLACE, reduced->data(), static_cast<int>(reduced->size()),
                             MPI_UINT64_T, MPI_MIN, comm, &request));
  if (!wait_until(request, deadline_seconds, nullptr)) {
    static_cast<void>(reduced.release());
    fall_silent(comm, deadline_seconds);
  }
  values = std::move(*reduced);
}

}  // namespace ballast
