#pragma once
// Moves the weights of a schedule's batches between GPUs and checks what arrives, while the model
// computes. No step waits for a GPU: the host polls events, streams wait on events.
//
//   compute  the caller's: pass, tables (rows leave service), `ready`, passes, copies, tables
//
//   pulls    wait for `ready`, pull, pull, ...     by the copy engine
//
//   copies   beside it: short rows of small experts, and experts that change rows inside this GPU,
//            by a few CTAs of high priority
//
//   nccl     wait for `ready`, group, group, ...   by 1 or 2 CTAs
//
//   checks   behind each arrival its hash          by few CTAs of high priority
//
//   host     in each step: tokens, polls, the next pulls; a batch that has arrived goes to the vote
//
// Small experts travel together: the pulls enqueued in a step share calls and events up to some
// bytes, and so do their hashes, because such a call takes the host longer than the bytes take.
//
// Transport `copy`: the receiver pulls. It needs nobody's GPU, but it must not read a row that its
// owner's compute stream has still to write (the copies of an earlier commit) or that is itself on
// its way there (a forward); so the owner's host sends an empty message, the token, as soon as the
// row can be read, and the pull follows it. Transport `nccl`: rounds are posted by all ranks in the
// same order at the same steps, as many as the bytes of a step allow; streams do the rest.

#include <mpi.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/cuda/arrival_hashes.hpp"
#include "runtime/cuda/device_memory.hpp"
#include "runtime/cuda/nccl_link.hpp"
#include "runtime/cuda/peer_memory.hpp"
#include "runtime/cuda/pull.hpp"
#include "runtime/exchange.hpp"

namespace ballast {

/// How this rank reaches the others.
struct device_links {
  std::vector<std::int32_t> neighbour;  ///< [ranks] the rank's number in this rank's island if its
                                        ///< rows can be pulled, else -1
  std::vector<char>
      pulls;  ///< [ranks] whether the ranks of this rank's island pull from each other
  std::vector<std::int32_t> island;  ///< [ranks]
  peer_memory peers;
  std::unique_ptr<nccl_link> nccl;  ///< null where no move needs it

  bool pulls_between(int a, int b) const { return island[a] == island[b] && pulls[a] && pulls[b]; }
};

class device_exchange final : public exchange {
 public:
  struct options {
    int device = 0;
    int rank = 0;
    int rows_per_rank = 1;
    std::int32_t verify = BALLAST_VERIFY_FULL;
    std::int64_t bytes_per_step = 0;  ///< 0: unpaced
    std::int32_t hash_ctas = 1;
    std::int32_t receives_per_batch = 1;
    std::int64_t moves_max = 0;  ///< of a schedule
  };

  /// References are kept; `comm` carries tokens.
  device_exchange(MPI_Comm comm, const device_memory& memory, device_links& links,
                  cudaStream_t compute, const options& options);
  /// Waits for the GPU's copies under way: what they write must not be freed before.
  ~device_exchange() override;

  /// False if NCCL has not sent and received all that was posted within `seconds`.
  bool wait_for_nccl(double seconds);

  void begin(const schedule& schedule, const rank_operations& operations) override;
  void start(int batch) override;
  void refill() override;
  void drain() override { draining_ = true; }
  void progress() override;
  bool finished() const override { return active_count_ == 0; }
  int batches_arrived() const override { return arrived_; }
  int first_bad_move() const override { return bad_move_; }
  std::int64_t bytes_received() const override { return bytes_received_; }
  weight_location landing(const scheduled_move& move, int batch) const override;
  void corrupt_next_arrival() override { corrupt_arrival_ = true; }
  void corrupt_source(const scheduled_move& move) override;

 private:
  enum class stage : std::uint8_t { waiting, readable, moving, done };

  /// A move into this rank.
  struct arrival {
    std::int32_t move = 0;
    std::int32_t source = 0;  ///< rank
    stage at = stage::waiting;
    std::int32_t hash = -1;  ///< its slot in hashes_, or -1: not verified
    MPI_Request token = MPI_REQUEST_NULL;
  };
  /// Arrivals that were enqueued together and are found complete together.
  struct arrival_group {
    enum class stage : std::uint8_t { moving, hashing, done } at = stage::moving;
    std::int32_t first = 0;  ///< of `enqueued`
    std::int32_t last = 0;
    std::int32_t event = 0;   ///< of events_: this one of the pulls or NCCL,
    bool by_stream = false;   ///< if anything goes there,
    bool by_kernels = false;  ///< and the next one of the copies
  };
  /// A token that this rank owes.
  struct token {
    std::int32_t move = 0;
    std::int32_t peer = 0;
    bool sent = false;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  struct nccl_round {
    std::int32_t round = 0;
    std::int64_t bytes = 0;  ///< of its largest move
  };
  struct active_batch {
    int batch = 0;
    std::vector<arrival> arrivals;
    std::vector<std::int32_t> enqueued;  ///< of arrivals, in the order of their groups
    std::vector<arrival_group> groups;
    std::int32_t hashes_used = 0;
    std::vector<token> tokens;
    std::vector<nccl_round> rounds;
    std::size_t rounds_posted = 0;
    event ready;  ///< of the compute stream, when the batch was started
    bool ready_passed = false;
  };

  /// One tensor of a move, as NCCL sends or receives it.
  struct message {
    std::byte* at = nullptr;
    std::size_t bytes = 0;
    int peer = 0;
    std::int32_t completes = -1;  ///< the move that has arrived with it
  };

  void rehearse();
  void choose_transports();
  void list_operations(active_batch& a);
  void list_nccl_rounds(active_batch& a);
  void post_nccl_rounds();
  void post_nccl_round(active_batch& a, std::int32_t round);
  void note_arrivals(active_batch& a, std::size_t first, std::size_t last);
  active_batch& active(int i) { return active_[(first_active_ + i) % 2]; }
  void send_tokens();
  void send(const active_batch& a, token& out);
  bool has_landed(const active_batch& a, const scheduled_move& move) const;
  void find_readable(const active_batch& a, arrival& in);
  bool pull_group();
  bool pull_readable(active_batch& a);
  void enqueue_pull(const active_batch& a, const arrival& in);
  void note_enqueued(active_batch& a, arrival& in);
  void close_group(active_batch& a, cudaStream_t stream, bool by_kernels);
  bool passed(const arrival_group& group) const;
  void advance(active_batch& a, arrival_group& group);
  void check(active_batch& a, arrival_group& group);
  void compare(active_batch& a, arrival_group& group);
  bool may_fetch() const {
    return unpaced() ||
           (budget_ > 0 && copies_left_ > static_cast<std::int64_t>(copies_.engine_copies()));
  }
  bool unpaced() const { return options_.bytes_per_step == 0; }
  bool to_verify(std::int32_t move) const;
  bool is_complete(active_batch& a) const;
  bool goes_by_nccl(std::int32_t move) const { return by_nccl_[move] != 0; }
  weight_location source_of(const scheduled_move& move, int batch) const;

  MPI_Comm comm_;
  const device_memory& memory_;
  device_links& links_;
  cudaStream_t compute_;
  options options_;
  background_stream pulls_;
  background_stream copy_stream_{background_stream::priority::urgent};
  background_stream nccl_stream_{background_stream::priority::urgent};
  std::vector<event> events_;        // [2 batches][receives_per_batch][pulls or NCCL, copies]
  arrival_hashes hashes_;            // [2 batches][receives_per_batch]
  copy_list copies_;                 // from other GPUs, and
  std::vector<expert_copy> inside_;  // inside this one, that are enqueued next

  const schedule* schedule_ = nullptr;
  const rank_operations* operations_ = nullptr;
  std::vector<char> by_nccl_;   // [moves of the schedule]
  std::vector<message> sends_;  // of a round by NCCL
  std::vector<message> receives_;
  std::array<active_batch, 2> active_;  // by batch number modulo 2
  int first_active_ = 0;                // batch number
  int active_count_ = 0;
  std::int64_t budget_ = 0;       // bytes that may still be pulled in this step
  std::int64_t copies_left_ = 0;  // of copy engines
  std::int64_t nccl_budget_ = 0;  // the same on all ranks
  int arrived_ = 0;
  int bad_move_ = -1;
  std::int64_t bytes_received_ = 0;
  bool draining_ = false;
  bool corrupt_arrival_ = false;
};

}  // namespace ballast
