#include <algorithm>

#include "kernels/commit.hpp"

namespace ballast {

void commit_tables_host(std::span<const table_copy> tables) {
  for (const table_copy& table : tables) std::copy_n(table.from, table.size, table.to);
}

}  // namespace ballast
