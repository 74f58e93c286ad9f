#pragma once
// Runs the `ballast` program as a user would, alone or under the launcher, and tells how it ended
// on every rank.

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace ballast {

using arguments = std::vector<std::string>;

/// How a run ended.
struct ending {
  int code = -1;                  ///< of the process, or of the launcher
  bool timed_out = false;         ///< it had to be killed
  std::map<int, int> rank_codes;  ///< under the launcher: the program's exit code on each rank
  std::string out;
  std::string err;
  double seconds = 0;

  /// The lines of `err` that the program wrote about an error.
  arguments complaints() const;
  /// Whether all of `ranks` ranks ended with this code.
  bool everywhere(int ranks, int code) const;
  std::string text() const;  ///< all of it, for the message of a failed test
};

/// A part of the ranks and what they are given.
struct rank_group {
  int ranks;
  arguments args;
};

/// A running program or job. Killed when destroyed.
class process {
 public:
  /// The program without a launcher.
  explicit process(const arguments& args);
  /// Under the launcher. Its own exit code says nothing then: a rank's is kept in rank_codes.
  explicit process(const std::vector<rank_group>& groups);
  ~process();
  process(const process&) = delete;

  /// Waits, for at most `seconds`.
  ending wait(double seconds = 60);

  /// Waits until `text` is in what was written to standard error; false if it does not come.
  bool wait_for_error_text(const std::string& text, double seconds = 30);
  void signal_rank(int rank, int signal);

 private:
  void launch(const arguments& command);
  std::string file(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
  pid_t pid_ = -1;
  bool ended_ = false;
};

/// `args` and `more` after them.
arguments with(arguments args, const arguments& more);

ending run(const arguments& args);
ending run(int ranks, const arguments& args);

}  // namespace ballast
