#include "runtime/ids.hpp"

#include <fmt/format.h>

#include "runtime/error.hpp"
#include "runtime/guard.hpp"

namespace ballast {

void check_ids(const ballast_ids& ids) {
  require_struct_size(ids.struct_size, sizeof(ballast_ids), sizeof(ballast_ids), "ids");
  const auto reject = [](const char* field, std::int64_t value) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT, fmt::format("ids.{} is {}", field, value));
  };
  if (ids.type != BALLAST_IDS_INT32 && ids.type != BALLAST_IDS_INT64) reject("type", ids.type);
  if (ids.columns < 1 || ids.columns > 65536) reject("columns", ids.columns);
  if (ids.shared_columns < 0 || ids.shared_columns > ids.columns)
    reject("shared_columns", ids.shared_columns);
  if (ids.tokens < 0 || ids.tokens > (std::int64_t{1} << 40)) reject("tokens", ids.tokens);
  if (ids.valid_tokens < 0 || ids.valid_tokens > ids.tokens)
    reject("valid_tokens", ids.valid_tokens);
  if (ids.tokens > 0) require_argument(ids.ids, "ids.ids");
}

id_matrix to_matrix(const ballast_ids& ids) {
  return {ids.ids,     ids.type == BALLAST_IDS_INT64,
          ids.columns, ids.shared_columns,
          ids.tokens,  ids.valid_tokens};
}

}  // namespace ballast
