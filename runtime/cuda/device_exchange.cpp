#include "runtime/cuda/device_exchange.hpp"

#include <sched.h>

#include <algorithm>

#include "runtime/error.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {

namespace {

// What one call pulls: so much that the call takes no longer than the bytes (16 MiB: 46 us), and
// large experts are hashed while the next ones travel.
constexpr std::int64_t together_bytes = copy_list::small_expert_bytes;
constexpr int together_max = picked_experts::most;

// Of a paced step, to the next expert: each copy by a copy engine takes the host 2 to 5 us, however
// few its bytes.
constexpr std::int64_t copies_per_step = 16;

}  // namespace

device_exchange::device_exchange(MPI_Comm comm, const device_memory& memory, device_links& links,
                                 cudaStream_t compute, const options& options)
    : comm_(comm),
      memory_(memory),
      links_(links),
      compute_(compute),
      options_(options),
      events_(4 * static_cast<std::size_t>(options.receives_per_batch)),
      hashes_(memory, 2 * static_cast<std::size_t>(options.receives_per_batch), options.hash_ctas),
      copies_(static_cast<std::size_t>(together_max) * memory.tensor_count_max()) {
  // A step allocates nothing.
  const auto receives = static_cast<std::size_t>(options.receives_per_batch);
  const std::size_t moves = receives * links.island.size();  // of a batch
  for (active_batch& a : active_) {
    a.arrivals.reserve(receives);
    a.enqueued.reserve(receives);
    a.groups.reserve(receives);
    a.tokens.reserve(moves);
    a.rounds.reserve(moves);
  }
  by_nccl_.reserve(options.moves_max);
  inside_.reserve(together_max);
  for (std::vector<message>* of_round : {&sends_, &receives_})
    of_round->reserve(receives * memory.tensor_count_max());
  rehearse();
}

// CUDA loads a kernel when it is first launched, which takes up to a millisecond and may wait for
// what runs on the GPU: not in a step, beside a collective of the engine's that waits for the other
// ranks' hosts. So each is launched once, from one staging half to the other.
void device_exchange::rehearse() {
  const expert_copy copy = {0, {0, 0}, {0, 1}};
  std::byte* const from = memory_.address(copy.layer, 0, copy.from);
  std::byte* const to = memory_.address(copy.layer, 0, copy.to);
  const std::size_t bytes = memory_.tensor_bytes(copy.layer, 0);
  copies_.add(to, from, std::min(bytes, copy_list::short_bytes), 0);
  copies_.add(to, from, bytes, copy_list::small_expert_bytes + 1);
  copies_.enqueue(pulls_.get(), copy_stream_.get());
  BALLAST_CUDA(cudaStreamSynchronize(pulls_.get()));
  memory_.copy_on(copy_stream_.get(), std::span(&copy, 1), options_.hash_ctas);
  BALLAST_CUDA(cudaStreamSynchronize(copy_stream_.get()));
  hashes_.add(copy.layer, copy.to, 0);
  hashes_.launch(events_[0]);
  BALLAST_CUDA(cudaStreamSynchronize(hashes_.stream()));
}

device_exchange::~device_exchange() {
  for (const cudaStream_t stream : {pulls_.get(), copy_stream_.get(), hashes_.stream()})
    cudaStreamSynchronize(stream);
}

bool device_exchange::wait_for_nccl(double seconds) {
  if (!links_.nccl) return true;
  event posted;
  posted.record(nccl_stream_.get());
  const auto start = steady_clock::now();
  while (!posted.passed()) {
    links_.nccl->check();
    if (seconds_since(start) > seconds) return false;
    sched_yield();
  }
  return true;
}

void device_exchange::begin(const schedule& schedule, const rank_operations& operations) {
  BALLAST_EXPECT(finished(), "an exchange began while another was under way");
  schedule_ = &schedule;
  operations_ = &operations;
  first_active_ = 0;
  arrived_ = 0;
  bad_move_ = -1;
  draining_ = false;
  budget_ = nccl_budget_ = options_.bytes_per_step;
  copies_left_ = copies_per_step;
  choose_transports();
}

// By NCCL go the moves between ranks that do not pull from each other; and what such a move
// forwards must have come by NCCL too, so that the order of the stream is enough. From the schedule
// and the links, which all ranks know alike.
void device_exchange::choose_transports() {
  const std::vector<scheduled_move>& moves = schedule_->moves;
  by_nccl_.assign(moves.size(), 0);
  for (std::size_t m = moves.size(); m-- > 0;) {
    const scheduled_move& move = moves[m];
    if (move.source_rank == move.target_rank) {
      BALLAST_EXPECT(by_nccl_[m] == 0, "a copy inside a rank is forwarded by NCCL");
      continue;
    }
    if (!links_.pulls_between(move.source_rank, move.target_rank)) by_nccl_[m] = 1;
    if (by_nccl_[m] != 0 && move.forwards >= 0) by_nccl_[move.forwards] = 1;
  }
}

// Whatever this batch writes has left service on the compute stream when `ready` is reached, and
// whatever it reads has been written there.
void device_exchange::start(int batch) {
  BALLAST_EXPECT(active_count_ < 2, "a third batch was started");
  const device_guard guard(options_.device);
  if (active_count_++ == 0) first_active_ = batch;
  active_batch& a = active_[batch % 2];
  a.batch = batch;
  list_operations(a);
  list_nccl_rounds(a);
  a.ready.record(compute_);
  a.ready_passed = false;
  for (const background_stream* s : {&pulls_, &copy_stream_, &nccl_stream_})
    BALLAST_CUDA(cudaStreamWaitEvent(s->get(), a.ready.get(), 0));
}

void device_exchange::list_operations(active_batch& a) {
  a.arrivals.clear();
  a.enqueued.clear();
  a.groups.clear();
  a.hashes_used = 0;
  a.tokens.clear();
  const auto& operations = operations_->operations;
  for (std::int32_t o = operations_->first_of_batch[a.batch];
       o < operations_->first_of_batch[a.batch + 1]; ++o) {
    const rank_operation& op = operations[o];
    if (op.kind == operation_kind::send) {
      if (!goes_by_nccl(op.move)) a.tokens.push_back({op.move, op.peer, false, MPI_REQUEST_NULL});
      continue;
    }
    BALLAST_EXPECT(a.arrivals.size() < static_cast<std::size_t>(options_.receives_per_batch),
                   "a batch has more receives than it may");
    a.arrivals.push_back({op.move, op.peer, stage::waiting, -1, MPI_REQUEST_NULL});
  }
  // The vectors do not grow from here on: MPI keeps the addresses of the requests.
  for (arrival& in : a.arrivals) {
    if (in.source == options_.rank || goes_by_nccl(in.move)) continue;
    BALLAST_MPI(MPI_Irecv(nullptr, 0, MPI_BYTE, in.source, tag_of_move(in.move), comm_, &in.token));
  }
}

void device_exchange::refill() {
  budget_ = std::min(options_.bytes_per_step, budget_ + options_.bytes_per_step);
  copies_left_ = copies_per_step;
  nccl_budget_ = std::min(options_.bytes_per_step, nccl_budget_ + options_.bytes_per_step);
}

void device_exchange::progress() {
  if (active_count_ == 0) return;
  const device_guard guard(options_.device);
  if (links_.nccl) {
    links_.nccl->check();
    post_nccl_rounds();
  }
  // Tokens between the groups: what a step pulls takes its host up to milliseconds.
  do {
    send_tokens();
  } while (pull_group());
  for (int i = 0; i < active_count_; ++i) {
    for (arrival_group& group : active(i).groups) advance(active(i), group);
  }
  while (active_count_ > 0 && is_complete(active(0))) {
    arrived_ += bad_move_ < 0;  // a batch with a bad move, and those after it, do not count
    ++first_active_;
    --active_count_;
  }
}

void device_exchange::find_readable(const active_batch& a, arrival& in) {
  if (in.at != stage::waiting) return;
  if (in.token != MPI_REQUEST_NULL) {
    int here = 0;
    BALLAST_MPI(MPI_Test(&in.token, &here, MPI_STATUS_IGNORE));
    if (here != 0) in.at = stage::readable;
  } else if (draining_) {
    in.at = stage::done;  // also what would come by a round of NCCL that is posted no more
  } else if (in.source == options_.rank) {
    const scheduled_move& move = schedule_->moves[in.move];
    if (move.forwards < 0 || has_landed(a, move)) in.at = stage::readable;
  }
}

// Of the earliest batch of which something can be read, as much as travels together; false if this
// step pulls nothing more. A later batch gets ahead only while the earlier waits for tokens: two
// that arrive together commit together, and the engines rest until the next two can begin.
bool device_exchange::pull_group() {
  for (int i = 0; i < active_count_; ++i) {
    active_batch& a = active(i);
    for (arrival& in : a.arrivals) find_readable(a, in);
    if (pull_readable(a)) return true;
  }
  return false;
}

bool device_exchange::pull_readable(active_batch& a) {
  std::int64_t bytes = 0;
  int count = 0;
  for (arrival& in : a.arrivals) {
    if (in.at != stage::readable) continue;
    if (draining_) {
      in.at = stage::done;
      continue;
    }
    if (!may_fetch() || count == together_max || bytes >= together_bytes) break;
    const std::int64_t of_expert = memory_.expert_bytes(schedule_->moves[in.move].layer);
    enqueue_pull(a, in);
    note_enqueued(a, in);
    budget_ -= of_expert;
    bytes += of_expert;
    ++count;
  }
  if (count == 0) return false;
  const bool by_kernels = copies_.has_short() || !inside_.empty();
  const auto by_engine = static_cast<std::int64_t>(copies_.engine_copies());
  copies_left_ -= by_engine;
  copies_.enqueue(pulls_.get(), copy_stream_.get());
  // By a kernel: a copy engine is slow inside its own GPU.
  memory_.copy_on(copy_stream_.get(), inside_, options_.hash_ctas);
  inside_.clear();
  close_group(a, by_engine > 0 ? pulls_.get() : nullptr, by_kernels);
  return true;
}

// The streams wait for `ready`.
void device_exchange::enqueue_pull(const active_batch& a, const arrival& in) {
  const scheduled_move& move = schedule_->moves[in.move];
  const weight_location from = source_of(move, a.batch);
  const weight_location to = landing(move, a.batch);
  if (in.source == options_.rank) return inside_.push_back({move.layer, from, to});
  const int neighbour = links_.neighbour[in.source];
  for (int t = 0; t < memory_.tensor_count(move.layer); ++t) {
    copies_.add(memory_.address(move.layer, t, to),
                links_.peers.address(neighbour, move.layer, t, from),
                memory_.tensor_bytes(move.layer, t), memory_.expert_bytes(move.layer));
  }
}

void device_exchange::note_enqueued(active_batch& a, arrival& in) {
  a.enqueued.push_back(static_cast<std::int32_t>(&in - a.arrivals.data()));
  in.at = stage::moving;
  bytes_received_ += memory_.expert_bytes(schedule_->moves[in.move].layer);
}

// What has been enqueued since the last group of the batch is complete when `stream`, if it is not
// null, has come so far, and the stream of the copies where kernels have a part.
void device_exchange::close_group(active_batch& a, cudaStream_t stream, bool by_kernels) {
  arrival_group group;
  group.first = a.groups.empty() ? 0 : a.groups.back().last;
  group.last = static_cast<std::int32_t>(a.enqueued.size());
  group.event = 2 * static_cast<std::int32_t>(a.batch % 2 * options_.receives_per_batch +
                                              std::ssize(a.groups));
  group.by_stream = stream != nullptr;
  group.by_kernels = by_kernels;
  if (group.by_stream) events_[group.event].record(stream);
  if (by_kernels) events_[group.event + 1].record(copy_stream_.get());
  a.groups.push_back(group);
}

bool device_exchange::passed(const arrival_group& group) const {
  return (!group.by_kernels || events_[group.event + 1].passed()) &&
         (!group.by_stream || events_[group.event].passed());
}

void device_exchange::advance(active_batch& a, arrival_group& group) {
  if (group.at == arrival_group::stage::moving && passed(group)) check(a, group);
  if (group.at == arrival_group::stage::hashing && events_[group.event].passed()) compare(a, group);
}

// The weights are there.
void device_exchange::check(active_batch& a, arrival_group& group) {
  bool hashed = false;
  for (std::int32_t i = group.first; i < group.last; ++i) {
    arrival& in = a.arrivals[a.enqueued[i]];
    const scheduled_move& move = schedule_->moves[in.move];
    const weight_location where = landing(move, a.batch);
    if (corrupt_arrival_ && in.source != options_.rank) {
      memory_.flip_bit(memory_.address(move.layer, 0, where));
      corrupt_arrival_ = false;
    }
    if (to_verify(in.move)) {
      in.hash = a.batch % 2 * options_.receives_per_batch + a.hashes_used++;
      hashes_.add(move.layer, where, in.hash);
      hashed = true;
    } else {
      in.at = stage::done;
    }
  }
  if (hashed) hashes_.launch(events_[group.event]);
  group.at = hashed ? arrival_group::stage::hashing : arrival_group::stage::done;
}

// A wrong arrival is noted, not thrown: all ranks learn of it by the next vote.
void device_exchange::compare(active_batch& a, arrival_group& group) {
  for (std::int32_t i = group.first; i < group.last; ++i) {
    arrival& in = a.arrivals[a.enqueued[i]];
    if (in.at == stage::done) continue;
    const scheduled_move& move = schedule_->moves[in.move];
    const bool good = hashes_[in.hash] == memory_.hash_of_expert(move.layer, move.expert);
    if (!good && bad_move_ < 0) bad_move_ = in.move;
    in.at = stage::done;
  }
  group.at = arrival_group::stage::done;
}

bool device_exchange::to_verify(std::int32_t move) const {
  return !draining_ && bad_move_ < 0 && is_verified(options_.verify, move);
}

// The events of the compute stream pass in order, but are asked one after the other: a batch's
// tokens must not go before those of the batch ahead of it.
void device_exchange::send_tokens() {
  bool ready = true;
  for (int i = 0; i < active_count_; ++i) {
    active_batch& a = active(i);
    ready = a.ready_passed = a.ready_passed || (ready && a.ready.passed());
    for (token& out : a.tokens) send(a, out);
  }
}

// A draining receiver waits for its tokens, so they are sent in any case.
void device_exchange::send(const active_batch& a, token& out) {
  const scheduled_move& move = schedule_->moves[out.move];
  if (!out.sent && (draining_ || (move.forwards < 0 ? a.ready_passed : has_landed(a, move)))) {
    BALLAST_MPI(
        MPI_Isend(nullptr, 0, MPI_BYTE, out.peer, tag_of_move(out.move), comm_, &out.request));
    out.sent = true;
  }
  if (out.request != MPI_REQUEST_NULL) {
    int gone = 0;
    BALLAST_MPI(MPI_Test(&out.request, &gone, MPI_STATUS_IGNORE));
  }
}

// The row to be sent on is the landing of another move.
bool device_exchange::has_landed(const active_batch& a, const scheduled_move& move) const {
  const auto here = std::ranges::find(a.arrivals, move.forwards, &arrival::move);
  BALLAST_EXPECT(here != a.arrivals.end(), "a forward of what does not arrive");
  return here->at == stage::done && bad_move_ < 0;
}

bool device_exchange::is_complete(active_batch& a) const {
  // Rounds without a part for this rank count too, so that all ranks post alike; and what it only
  // sends is in no other list.
  if (!draining_ && a.rounds_posted < a.rounds.size()) return false;
  return std::ranges::all_of(a.arrivals, [](const arrival& in) { return in.at == stage::done; }) &&
         std::ranges::all_of(a.tokens, [](const token& out) {
           return out.sent && out.request == MPI_REQUEST_NULL;
         });
}

weight_location device_exchange::landing(const scheduled_move& move, int batch) const {
  return landing_of(move, batch, options_.rows_per_rank);
}

weight_location device_exchange::source_of(const scheduled_move& move, int batch) const {
  return ballast::source_of(*schedule_, move, batch, options_.rows_per_rank);
}

void device_exchange::corrupt_source(const scheduled_move& move) {
  memory_.flip_bit(memory_.address(move.layer, 0, source_of(move, first_active_)));
}

}  // namespace ballast
