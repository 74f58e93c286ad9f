#pragma once
// The policies that users register, by name, for the whole process: an engine registers one in one
// place and names it in a configuration in another. Entries are only ever added and never move.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "policies/plugin.hpp"
#include "runtime/ballast.h"

namespace ballast {

/// A C function as a policy.
class registered_policy : public plugin_policy {
 public:
  /// Throws error naming the field.
  explicit registered_policy(const ballast_policy& policy);

  const std::string& name() const { return name_; }
  void plan(const plan_request& request, std::span<const std::int32_t> usable_slots,
            placement& target) const override;

 private:
  std::string name_;
  ballast_policy policy_;
};

/// Throws error if the name is taken. From any thread, as the next two.
void register_policy(const ballast_policy& policy);

/// Null if there is none of that name.
const registered_policy* find_registered_policy(std::string_view name);

/// Null past the last.
const registered_policy* registered_policy_at(std::size_t index);

}  // namespace ballast
