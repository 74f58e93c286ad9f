#pragma once
// How subcommands say which options they take. CLI11 does the work, out of sight: a source that
// includes its header takes several seconds more to compile.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace ballast {

/// What a value must be like.
using value_check = std::shared_ptr<const CLI::Validator>;

/// Whole numbers from `least` to `most`.
value_check range(std::int64_t least, std::int64_t most);
value_check real_range(double least, double most);
value_check one_of(const std::vector<std::string>& names);
/// `why_wrong` returns "" for a text that will do. `type` is shown by --help.
value_check fulfilling(std::function<std::string(const std::string&)> why_wrong,
                       const std::string& type);

/// One option of a command, which owns it. All calls return the option itself.
class option {
 public:
  explicit option(CLI::Option* native) : native_(native) {}

  option* check(const value_check& check);  ///< of each value
  option* required();
  option* needs(option* other);
  option* excludes(option* other);
  option* delimiter(char between);  ///< of the values of a list
  /// For --help: the value that the variable has now, another text for it, and what is to be given.
  option* capture_default_str();
  option* default_str(const std::string& text);
  option* type_name(const std::string& name);

 private:
  CLI::Option* native_;
};

/// The program or a subcommand. Variables must live until parse() has filled them.
class command {
 public:
  explicit command(CLI::App* native);
  ~command();
  command(const command&) = delete;

  command* add_subcommand(const std::string& name, const std::string& what);
  void require_subcommand();
  /// T: std::string, double, whole numbers of 32 and 64 bits, move_limit, a vector of such, or an
  /// optional number.
  template <typename T>
  option* add_option(const std::string& name, T& value, const std::string& what);
  /// A value that is checked and not kept.
  option* add_option(const std::string& name, const std::string& what);
  option* add_flag(const std::string& name, bool& value, const std::string& what);
  void footer(const std::string& text);
  /// To be called if this is the subcommand that was given.
  void callback(std::function<void()> chosen);

 private:
  option* keep(CLI::Option* native);

  CLI::App* native_;
  std::vector<std::unique_ptr<option>> options_;
  std::vector<std::unique_ptr<command>> subcommands_;
};

class program {
 public:
  program(const std::string& name, const std::string& what, const std::string& version);
  ~program();

  command& top() { return top_; }

  /// Nothing if the arguments are right and ask for a subcommand. Otherwise the exit code, after
  /// printing what was asked for (--help, --version) or what is wrong, on one rank.
  std::optional<int> parse(int argc, char** argv);

 private:
  std::unique_ptr<CLI::App> native_;
  command top_;
};

}  // namespace ballast
