#include "runtime/host_transport.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/hash.hpp"
#include "kernels/hash_rule.hpp"
#include "runtime/error.hpp"

namespace ballast {
namespace {

// Small enough that a piece, its source and those posted after it are still in the cache of a core
// when it is hashed; large enough that a message's start costs little of its time. A multiple of 8,
// as hash_sum_host wants.
constexpr std::size_t piece_bytes_max = std::size_t{256} << 10;
// Ahead of the receiver, so that it never waits for this rank to come back from a hash or a copy.
constexpr std::size_t send_bytes_max = 8 * piece_bytes_max;
// From another node one is on its way while another is hashed. On this node it is the receiver that
// copies, out of the sender's memory and as soon as it posts: a second piece would only come
// between the first and its hash, and drive it out of the cache.
constexpr std::size_t receive_bytes_max = 2 * piece_bytes_max;
constexpr std::size_t receive_bytes_max_on_node = piece_bytes_max;

}  // namespace

void piece_sequence::begin(std::span<transfer> round, operation_kind kind) {
  round_ = round;
  kind_ = kind;
  at_ = 0;
  skip_other_kinds();
}

void piece_sequence::skip_other_kinds() {
  while (at_ < round_.size() && round_[at_].kind != kind_) ++at_;
}

transfer_piece piece_sequence::front() const {
  transfer* of = &round_[at_];
  const std::size_t left = memory_.tensor_bytes(of->layer, tensor_) - offset_;
  return {of, tensor_, offset_, std::min(left, piece_bytes_max)};
}

void piece_sequence::pop() {
  const transfer_piece piece = front();
  offset_ += piece.bytes;
  if (offset_ < memory_.tensor_bytes(piece.of->layer, tensor_)) return;
  offset_ = 0;
  if (++tensor_ < memory_.tensor_count(piece.of->layer)) return;
  tensor_ = 0;
  ++at_;
  skip_other_kinds();
}

bool posted_pieces::fits(std::size_t bytes, std::size_t bytes_max) const {
  return count_ == 0 || (count_ < ring_.size() && bytes_ + bytes <= bytes_max);
}

MPI_Request& posted_pieces::push(const transfer_piece& piece) {
  posted& p = ring_[(first_ + count_++) % ring_.size()];
  bytes_ += piece.bytes;
  p.piece = piece;
  return p.request;
}

bool posted_pieces::pop_complete(transfer_piece& piece) {
  if (count_ == 0) return false;
  posted& oldest = ring_[first_];
  int done = 0;
  BALLAST_MPI(MPI_Test(&oldest.request, &done, MPI_STATUS_IGNORE));
  if (done == 0) return false;
  piece = oldest.piece;
  bytes_ -= piece.bytes;
  first_ = (first_ + 1) % ring_.size();
  --count_;
  return true;
}

host_transport::host_transport(MPI_Comm comm, const expert_memory& memory,
                               std::vector<bool> is_on_node)
    : comm_(comm),
      memory_(memory),
      is_on_node_(std::move(is_on_node)),
      to_send_(memory),
      to_receive_(memory),
      to_copy_(memory) {}

void host_transport::begin(std::span<transfer> round) {
  BALLAST_EXPECT(finished(), "a round began while another was under way");
  for (transfer& t : round) t.hash = 0;
  to_send_.begin(round, operation_kind::send);
  to_receive_.begin(round, operation_kind::receive);
  to_copy_.begin(round, operation_kind::copy);
}

bool host_transport::finished() const {
  return to_send_.empty() && to_receive_.empty() && to_copy_.empty() && sends_.empty() &&
         receives_.empty();
}

std::int64_t host_transport::progress(std::int64_t bytes_max, std::int64_t& send_budget) {
  std::int64_t all = 0;
  while (all < bytes_max) {
    const std::int64_t now = send(send_budget) + receive() + copy();
    if (now == 0) break;
    all += now;
  }
  return all;
}

// Retires the sends that are complete, and posts the next.
std::int64_t host_transport::send(std::int64_t& send_budget) {
  transfer_piece piece;
  while (sends_.pop_complete(piece)) {
  }
  if (to_send_.empty() || send_budget <= 0) return 0;
  piece = to_send_.front();
  if (!sends_.fits(piece.bytes, send_bytes_max)) return 0;
  BALLAST_MPI(MPI_Isend(address(piece, piece.of->source), static_cast<int>(piece.bytes), MPI_BYTE,
                        piece.of->peer, tag_of_move(piece.of->move), comm_, &sends_.push(piece)));
  to_send_.pop();
  send_budget -= static_cast<std::int64_t>(piece.bytes);
  return static_cast<std::int64_t>(piece.bytes);
}

// Takes in the next piece that has arrived, and hashes it before another is posted.
std::int64_t host_transport::receive() {
  transfer_piece piece;
  post_receives();
  if (!receives_.pop_complete(piece)) return 0;
  if (corrupt_arrival_) {
    *address(piece, piece.of->target) ^= std::byte{1};
    corrupt_arrival_ = false;
  }
  hash(piece, received_sum_);
  post_receives();
  return static_cast<std::int64_t>(piece.bytes);
}

void host_transport::post_receives() {
  while (!to_receive_.empty()) {
    const transfer_piece piece = to_receive_.front();
    const std::size_t bytes_max =
        is_on_node_[piece.of->peer] ? receive_bytes_max_on_node : receive_bytes_max;
    if (!receives_.fits(piece.bytes, bytes_max)) return;
    BALLAST_MPI(MPI_Irecv(address(piece, piece.of->target), static_cast<int>(piece.bytes), MPI_BYTE,
                          piece.of->peer, tag_of_move(piece.of->move), comm_,
                          &receives_.push(piece)));
    to_receive_.pop();
  }
}

std::int64_t host_transport::copy() {
  if (to_copy_.empty()) return 0;
  const transfer_piece piece = to_copy_.front();
  to_copy_.pop();
  std::memcpy(address(piece, piece.of->target), address(piece, piece.of->source), piece.bytes);
  hash(piece, copied_sum_);
  return static_cast<std::int64_t>(piece.bytes);
}

std::byte* host_transport::address(const transfer_piece& piece, weight_location where) const {
  return memory_.address(piece.of->layer, piece.tensor, where) + piece.offset;
}

// Pieces come in order, so one sum is under way at a time.
void host_transport::hash(const transfer_piece& piece, std::uint64_t& sum) const {
  transfer& t = *piece.of;
  if (!t.hashed) return;
  const std::uint64_t seed = hash_seed_of_tensor(piece.tensor);
  sum += hash_sum_host(address(piece, t.target), piece.bytes, seed, piece.offset);
  const std::size_t tensor_bytes = memory_.tensor_bytes(t.layer, piece.tensor);
  if (piece.offset + piece.bytes < tensor_bytes) return;
  t.hash = combine_hash(t.hash, finish_hash(sum, tensor_bytes, seed));
  sum = 0;
}

}  // namespace ballast
