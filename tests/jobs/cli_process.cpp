#include "tests/jobs/cli_process.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace ballast {
namespace {

using steady_clock = std::chrono::steady_clock;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

std::string read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// Each rank runs the program under this script, which notes process id and exit code. It always
// succeeds itself: a launcher kills all ranks as soon as one fails, and the others' codes would be
// lost.
constexpr const char* rank_script = R"(rank=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}
folder=$1; shift
"$@" &
echo $! > "$folder/pid.tmp.$rank"; mv "$folder/pid.tmp.$rank" "$folder/pid.$rank"
wait $!
echo $? > "$folder/code.$rank"
exit 0
)";

}  // namespace

arguments ending::complaints() const {
  arguments lines;
  std::istringstream stream(err);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("ballast: ")) lines.push_back(line);
  }
  return lines;
}

bool ending::everywhere(int ranks, int wanted) const {
  if (static_cast<int>(rank_codes.size()) != ranks) return false;
  for (const auto& [rank, rank_code] : rank_codes) {
    if (rank_code != wanted) return false;
  }
  return true;
}

std::string ending::text() const {
  std::ostringstream text;
  text << "exit code " << code << (timed_out ? " (killed: too slow)" : "") << " after " << seconds
       << " s;";
  for (const auto& [rank, rank_code] : rank_codes) text << " rank " << rank << ": " << rank_code;
  text << "\n-- standard output:\n"
       << out.substr(0, 4000) << "\n-- standard error:\n"
       << err.substr(0, 4000);
  return text.str();
}

process::process(const arguments& args) {
  arguments command = {BALLAST_CLI};
  command.insert(command.end(), args.begin(), args.end());
  launch(command);
}

process::process(const std::vector<rank_group>& groups) {
  arguments command = {BALLAST_MPIEXEC};
  for (const rank_group& group : groups) {
    if (command.size() > 1) command.emplace_back(":");
    command.insert(command.end(), {BALLAST_MPIEXEC_NUMPROC_FLAG, std::to_string(group.ranks), "sh",
                                   "-c", rank_script, "sh", "@folder@", BALLAST_CLI});
    command.insert(command.end(), group.args.begin(), group.args.end());
  }
  launch(command);
}

void process::launch(const arguments& command) {
  std::string pattern = (std::filesystem::temp_directory_path() / "ballast-cli-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr)
    throw std::runtime_error("no temporary folder: " + pattern);
  folder_ = pattern;
  arguments words = command;
  for (std::string& word : words) {
    if (word == "@folder@") word = folder_;
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  setpgid(0, 0);
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(open(file("out").c_str(), O_WRONLY | O_CREAT, 0644), STDOUT_FILENO);
  dup2(open(file("err").c_str(), O_WRONLY | O_CREAT, 0644), STDERR_FILENO);
  execvp(argv[0], argv.data());
  _exit(127);
}

process::~process() {
  if (!ended_) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

ending process::wait(double seconds) {
  const auto start = steady_clock::now();
  ending end;
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (seconds_since(start) > seconds) {
      end.timed_out = true;
      kill(-pid_, SIGKILL);
      waitpid(pid_, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  ended_ = true;
  end.seconds = seconds_since(start);
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  end.out = read(file("out"));
  end.err = read(file("err"));
  for (int rank = 0; std::filesystem::exists(file("pid." + std::to_string(rank))); ++rank) {
    const std::string code = read(file("code." + std::to_string(rank)));
    end.rank_codes[rank] = code.empty() ? -1 : std::atoi(code.c_str());
  }
  return end;
}

bool process::wait_for_error_text(const std::string& text, double seconds) {
  const auto start = steady_clock::now();
  while (read(file("err")).find(text) == std::string::npos) {
    if (seconds_since(start) > seconds || kill(pid_, 0) != 0) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

void process::signal_rank(int rank, int signal) {
  const int pid = std::atoi(read(file("pid." + std::to_string(rank))).c_str());
  if (pid <= 0) throw std::runtime_error("rank " + std::to_string(rank) + " has not been started");
  kill(pid, signal);
}

arguments with(arguments args, const arguments& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

ending run(const arguments& args) { return process(args).wait(); }
ending run(int ranks, const arguments& args) {
  return process(std::vector<rank_group>{{ranks, args}}).wait();
}

}  // namespace ballast
