// A rank that falls silent. The others learn its number within the deadline and three seconds,
// every later call says the same, and destroying does not wait. Contexts are dead afterwards and
// one rank sleeps, so this is a program of its own: it ends by MPI_Abort after one line that says
// how it went ("deadline test ok"), which is what the test looks for.
//
// Usage: deadline_test step|create|start: where the last rank falls silent.
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

constexpr double deadline_seconds = 1;
using steady_clock = std::chrono::steady_clock;

int silent_rank() { return size_of(MPI_COMM_WORLD) - 1; }
bool is_silent() { return rank_of(MPI_COMM_WORLD) == silent_rank(); }

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

void keep_line(void* user, std::int32_t level, const char* text) {
  if (level <= BALLAST_LOG_WARNING) *static_cast<std::string*>(user) += std::string(text) + "\n";
}

// Collects what is wrong on this rank.
struct finding {
  std::string text;
  void require(bool condition, const std::string& what) {
    if (!condition) text += what + "; ";
  }
};

struct silence {
  ballast_config config = small_config(size_of(MPI_COMM_WORLD));
  std::string drill = "stall:" + std::to_string(silent_rank()) + ":0";
  std::string log;
  made_up_weights weights{config.layers, config.slots_per_rank};
  ballast_context* context = nullptr;

  explicit silence(bool stall) {
    config.deadline_seconds = deadline_seconds;
    config.log = keep_line;
    config.log_user = &log;
    if (stall) config.drill = drill.c_str();
  }

  ballast_status create() { return ballast_create(&config, MPI_COMM_WORLD, &context); }

  void load() {
    ballast_layer_tables t;
    t.struct_size = sizeof(t);
    for (int layer = 0; layer < config.layers; ++layer) {
      ballast_tables(context, layer, &t);
      for (int row = 0; row < config.slots_per_rank; ++row) {
        weights.fill(layer, row,
                     t.expert_of_slot[rank_of(MPI_COMM_WORLD) * config.slots_per_rank + row]);
      }
      const auto tensors = weights.tensors(layer);
      ballast_register_layer(context, layer, tensors.data(),
                             static_cast<std::int32_t>(tensors.size()));
    }
  }
};

void in_step(finding& found) {
  silence s(true);
  found.require(s.create() == BALLAST_OK, ballast_last_error());
  s.load();
  found.require(ballast_start(s.context) == BALLAST_OK, ballast_last_error());
  ballast_status status = BALLAST_OK;
  steady_clock::time_point start;
  for (int i = 0; i < 1000000 && status == BALLAST_OK; ++i) {
    start = steady_clock::now();
    status = ballast_step(s.context, nullptr);
  }
  if (is_silent()) return;
  const double seconds = seconds_since(start);
  const std::string text = ballast_last_error();
  const std::string named = "no answer from rank " + std::to_string(silent_rank()) + " within";
  found.require(status == BALLAST_ERROR_DEADLINE,
                std::string("status is ") + ballast_status_name(status) + ": " + text);
  found.require(text.find(named) != text.npos, "not named: " + text);
  found.require(seconds <= deadline_seconds + 3, "it took " + std::to_string(seconds) + " s");
  found.require(s.log.find(named) != s.log.npos, "not in the log: " + s.log);
  const std::string dump = "rank " + std::to_string(rank_of(MPI_COMM_WORLD)) + ": events: step ";
  found.require(s.log.find(dump) != s.log.npos, "no events in the log: " + s.log);
  found.require(ballast_step(s.context, nullptr) == BALLAST_ERROR_DEADLINE,
                "a later step has another status");
  found.require(text == ballast_last_error(), "a later step has another text");
  start = steady_clock::now();
  found.require(ballast_destroy(s.context) == BALLAST_ERROR_DEADLINE,
                "destroying has another status");
  found.require(seconds_since(start) < 1, "destroying waited");
  found.require(std::string(ballast_last_error()).starts_with(text),
                "destroying has another text: " + std::string(ballast_last_error()));
}

void in_create(finding& found) {
  if (is_silent()) return;
  silence s(false);
  const auto start = steady_clock::now();
  const ballast_status status = s.create();
  found.require(
      status == BALLAST_ERROR_DEADLINE,
      std::string("status is ") + ballast_status_name(status) + ": " + ballast_last_error());
  found.require(seconds_since(start) <= deadline_seconds + 3, "it took too long");
  found.require(s.context == nullptr, "an output was written");
}

void in_start(finding& found) {
  silence s(false);
  found.require(s.create() == BALLAST_OK, ballast_last_error());
  if (is_silent()) return;
  s.load();
  const auto start = steady_clock::now();
  const ballast_status status = ballast_start(s.context);
  found.require(
      status == BALLAST_ERROR_DEADLINE,
      std::string("status is ") + ballast_status_name(status) + ": " + ballast_last_error());
  const std::string named = "no answer from rank " + std::to_string(silent_rank()) + " within";
  found.require(std::string(ballast_last_error()).find(named) != std::string::npos,
                "not named: " + std::string(ballast_last_error()));
  found.require(seconds_since(start) <= deadline_seconds + 3, "it took too long");
}

}  // namespace
}  // namespace ballast

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  const std::string where = argc > 1 ? argv[1] : "step";
  ballast::finding found;
  if (where == "step") ballast::in_step(found);
  if (where == "create") ballast::in_create(found);
  if (where == "start") ballast::in_start(found);
  if (ballast::is_silent()) pause();  // until the others have ended the job

  char text[600] = {};
  std::strncpy(text, found.text.c_str(), sizeof(text) - 1);
  const int rank = ballast::rank_of(MPI_COMM_WORLD);
  if (rank != 0) {
    MPI_Send(text, sizeof(text), MPI_CHAR, 0, 0, MPI_COMM_WORLD);
    pause();
  }
  bool ok = *text == '\0';
  if (!ok) std::printf("rank 0: %s\n", text);
  for (int from = 1; from < ballast::silent_rank(); ++from) {
    MPI_Recv(text, sizeof(text), MPI_CHAR, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (*text != '\0') std::printf("rank %d: %s\n", from, text);
    ok &= *text == '\0';
  }
  std::printf("deadline test %s\n", ok ? "ok" : "failed");
  std::fflush(stdout);
  MPI_Abort(MPI_COMM_WORLD, 1);
}
