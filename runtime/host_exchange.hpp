#pragma once
// The exchange on host memory: round by round, a round beginning when this rank's part of the one
// before is done.
//
//     progress(): hand round r to the transport | compare the hashes of what arrived |
//                 next round | batch k arrived | round 0 of batch k+1

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "runtime/exchange.hpp"
#include "runtime/host_transport.hpp"

namespace ballast {

struct exchange_settings {
  std::int32_t verify = BALLAST_VERIFY_FULL;
  std::int32_t receives_per_batch = 1;  ///< by one rank
  std::int64_t bytes_per_step = 0;      ///< 0: unpaced
  std::vector<bool> is_on_node;         ///< [ranks], whose memory this rank shares
};

class host_exchange final : public exchange {
 public:
  /// References are kept; `comm` carries nothing but weights.
  host_exchange(MPI_Comm comm, const expert_memory& memory, int rows_per_rank,
                exchange_settings settings);

  void begin(const schedule& schedule, const rank_operations& operations) override;
  void start(int batch) override;

  void refill() override;
  void drain() override;
  /// Does what can be done without waiting, up to about bytes_per_call sent, received and copied,
  /// so that a step stays near a millisecond whatever an expert's size.
  void progress() override;
  static constexpr std::int64_t bytes_per_call = std::int64_t{2} << 20;

  bool finished() const override { return active_count_ == 0; }
  int batches_arrived() const override { return arrived_; }
  int first_bad_move() const override { return bad_move_; }
  std::int64_t bytes_received() const override { return bytes_received_; }
  /// Time inside progress(), which is what the weights cost the model.
  link_times times_received() const override { return times_; }
  weight_location landing(const scheduled_move& move, int batch) const override;
  void corrupt_next_arrival() override { transport_.corrupt_next_arrival(); }
  void corrupt_source(const scheduled_move& move) override {
    memory_.flip_bit(memory_.address(move.layer, 0, source_of(move)));
  }

 private:
  struct active_batch {
    int batch = 0;
    std::int32_t next = 0;
    std::int32_t end = 0;
  };

  void begin_round();
  void check_round();
  std::chrono::steady_clock::time_point charge(std::chrono::steady_clock::time_point since);
  bool to_be_hashed(std::int32_t move) const;
  weight_location source_of(const scheduled_move& move) const;

  const expert_memory& memory_;
  host_transport transport_;
  int rows_per_rank_;
  exchange_settings settings_;
  const schedule* schedule_ = nullptr;
  const rank_operations* operations_ = nullptr;
  std::array<active_batch, 2> active_;
  int active_count_ = 0;
  std::vector<transfer> round_;  // does not grow
  std::int64_t send_budget_ = 0;
  int arrived_ = 0;
  int bad_move_ = -1;
  std::int64_t bytes_received_ = 0;
  link_times times_;
  int round_link_ = -1;  // the farthest that this round receives over; -1: it receives nothing
  bool draining_ = false;
};

}  // namespace ballast
