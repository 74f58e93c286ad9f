#include "jobs/command_line.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "jobs/exit_code.hpp"
#include "jobs/move_limit.hpp"
#include "jobs/mpi_session.hpp"

namespace ballast {

value_check range(std::int64_t least, std::int64_t most) {
  return std::make_shared<CLI::Range>(least, most);
}

value_check real_range(double least, double most) {
  return std::make_shared<CLI::Range>(least, most);
}

value_check one_of(const std::vector<std::string>& names) {
  return std::make_shared<CLI::IsMember>(names);
}

value_check fulfilling(std::function<std::string(const std::string&)> why_wrong,
                       const std::string& type) {
  return std::make_shared<CLI::Validator>(why_wrong, type);
}

option* option::check(const value_check& check) {
  native_->check(*check);
  return this;
}

option* option::required() {
  native_->required();
  return this;
}

option* option::needs(option* other) {
  native_->needs(other->native_);
  return this;
}

option* option::excludes(option* other) {
  native_->excludes(other->native_);
  return this;
}

option* option::delimiter(char between) {
  native_->delimiter(between);
  return this;
}

option* option::capture_default_str() {
  native_->capture_default_str();
  return this;
}

option* option::default_str(const std::string& text) {
  native_->default_str(text);
  return this;
}

option* option::type_name(const std::string& name) {
  native_->type_name(name);
  return this;
}

command::command(CLI::App* native) : native_(native) {}
command::~command() = default;

option* command::keep(CLI::Option* native) {
  return options_.emplace_back(std::make_unique<option>(native)).get();
}

command* command::add_subcommand(const std::string& name, const std::string& what) {
  CLI::App* native = native_->add_subcommand(name, what);
  return subcommands_.emplace_back(std::make_unique<command>(native)).get();
}

void command::require_subcommand() { native_->require_subcommand(1); }

template <typename T>
option* command::add_option(const std::string& name, T& value, const std::string& what) {
  return keep(native_->add_option(name, value, what));
}

template option* command::add_option(const std::string&, std::string&, const std::string&);
template option* command::add_option(const std::string&, double&, const std::string&);
template option* command::add_option(const std::string&, std::int32_t&, const std::string&);
template option* command::add_option(const std::string&, std::int64_t&, const std::string&);
template option* command::add_option(const std::string&, std::uint64_t&, const std::string&);
template option* command::add_option(const std::string&, std::optional<std::int64_t>&,
                                     const std::string&);
template option* command::add_option(const std::string&, move_limit&, const std::string&);
template option* command::add_option(const std::string&, std::vector<std::string>&,
                                     const std::string&);
template option* command::add_option(const std::string&, std::vector<std::int32_t>&,
                                     const std::string&);
template option* command::add_option(const std::string&, std::vector<std::int64_t>&,
                                     const std::string&);
template option* command::add_option(const std::string&, std::vector<move_limit>&,
                                     const std::string&);

option* command::add_option(const std::string& name, const std::string& what) {
  return keep(native_->add_option(name, what));
}

option* command::add_flag(const std::string& name, bool& value, const std::string& what) {
  return keep(native_->add_flag(name, value, what));
}

void command::footer(const std::string& text) { native_->footer(text); }

void command::callback(std::function<void()> chosen) { native_->callback(std::move(chosen)); }

program::program(const std::string& name, const std::string& what, const std::string& version)
    : native_(std::make_unique<CLI::App>(what, name)), top_(native_.get()) {
  native_->set_version_flag("--version", version);
  native_->option_defaults()->always_capture_default();
}

program::~program() = default;

std::optional<int> program::parse(int argc, char** argv) {
  try {
    native_->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& e) {
    const bool is_help = e.get_exit_code() == 0;
    // Every rank parses alike; one line is enough.
    if (launcher_rank() == 0) {
      if (is_help) return native_->exit(e);
      fmt::print(stderr, "ballast: {}\nTry --help.\n", e.what());
    }
    return is_help ? 0 : static_cast<int>(exit_code::usage);
  }
}

}  // namespace ballast
