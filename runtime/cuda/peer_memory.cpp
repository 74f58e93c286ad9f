#include "runtime/cuda/peer_memory.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/agreement.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"

namespace ballast {

/// What a rank offers of its pieces in a round.
struct piece_offer {
  std::int64_t index = 0;    ///< of its exported memory
  std::int32_t fd = -1;      ///< -1: it cannot be exported
  std::int32_t refusal = 0;  ///< the CUresult then
  std::int64_t owner = 0;    ///< process
};

namespace {

// As many file descriptors a rank has open for the others at once: a process may have few.
constexpr std::size_t pieces_at_once = 256;

std::vector<std::size_t> pieces_of(const std::vector<exported_memory>& memory) {
  std::vector<std::size_t> pieces;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (memory[i].is_piece != 0) pieces.push_back(i);
  }
  return pieces;
}

}  // namespace

peer_memory peer_memory::connect(MPI_Comm island, const device_memory& mine,
                                 double deadline_seconds) {
  peer_memory result;
  result.mine_ = &mine;
  std::size_t tensors = 0;
  for (int layer = 0; layer < mine.layers(); ++layer) {
    result.first_tensor_.push_back(tensors);
    tensors += mine.tensor_count(layer);
  }
  peer_exports own;
  agree(island, verdict_of([&] { own = exports_of(mine); }), {}, deadline_seconds);
  constexpr const char* what = "the memory of the island's GPUs";
  const auto memory = gather_values<exported_memory>(island, own.memory, deadline_seconds, what);
  const auto places = gather_values<exported_place>(island, own.places, deadline_seconds, what);

  int self = 0;
  BALLAST_MPI(MPI_Comm_rank(island, &self));
  const int ranks = static_cast<int>(memory.size());
  result.neighbours_.resize(ranks);
  for (int r = 0; r < ranks; ++r) {
    if (r != self) result.open_allocations(r, memory[r]);
  }
  result.open_pieces(island, self, memory, deadline_seconds);
  for (int r = 0; r < ranks && result.why_not_.empty(); ++r) {
    if (r == self) continue;
    const verdict seen = verdict_of([&] { result.look(r, memory[r], places[r]); });
    if (seen.status != BALLAST_OK) result.why_not_ = seen.text;
  }
  return result;
}

void peer_memory::look(int neighbour, const std::vector<exported_memory>& theirs,
                       const std::vector<exported_place>& places) {
  probe(neighbour, theirs);
  neighbour_view& view = neighbours_[neighbour];
  for (const exported_place& p : places) view.tensors.push_back({view.here(p.base), p.stride});
  view.staging = view.tensors.back().base;
}

void peer_memory::open_allocations(int neighbour, const std::vector<exported_memory>& theirs) {
  for (const exported_memory& e : theirs) {
    if (e.is_piece != 0) continue;
    if (e.refusal != 0) {
      note_failure(neighbour, e,
                   fmt::format("its owner cannot export it: {}",
                               cudaGetErrorName(static_cast<cudaError_t>(e.refusal))));
      return;
    }
    void* base = nullptr;
    const cudaError_t code = cudaIpcOpenMemHandle(&base, e.handle, cudaIpcMemLazyEnablePeerAccess);
    if (code != cudaSuccess) {
      cudaGetLastError();
      note_failure(neighbour, e, fmt::format("it cannot be opened: {}", cudaGetErrorName(code)));
      return;
    }
    neighbours_[neighbour].allocations.emplace_back(e.base, e.bytes,
                                                    std::unique_ptr<void, mapping_release>(base));
  }
}

// Collective: round by round every rank exports some of its pieces, all others take them over and
// map them, and the owner closes its descriptors. A rank that fails goes on meeting the others.
void peer_memory::open_pieces(MPI_Comm island, int self, const exports_of_ranks& all,
                              double deadline_seconds) {
  std::size_t most = 0;
  for (const auto& memory : all) most = std::max(most, pieces_of(memory).size());
  if (most == 0) return;
  const int ranks = static_cast<int>(all.size());
  for (int r = 0; r < ranks; ++r) {
    if (r != self) map_pieces(r, all[r]);
  }
  allow_takeover();
  const std::vector<std::size_t> own = pieces_of(all[self]);
  constexpr const char* what = "the pieces of the memory of the island's GPUs";
  for (std::size_t first = 0; first < most; first += pieces_at_once) {
    std::vector<owned_fd> open;
    std::vector<piece_offer> offers;
    const verdict exported = verdict_of([&] {
      for (std::size_t i = first; i < std::min(first + pieces_at_once, own.size()); ++i) {
        int refusal = 0;
        open.push_back(export_piece(all[self][own[i]].base, refusal));
        offers.push_back({static_cast<std::int64_t>(own[i]), open.back().get(), refusal, getpid()});
      }
    });
    if (exported.status != BALLAST_OK && why_not_.empty()) why_not_ = exported.text;
    const auto offered = gather_values<piece_offer>(island, offers, deadline_seconds, what);
    for (int r = 0; r < ranks; ++r) {
      for (const piece_offer& offer : offered[r]) {
        if (r != self && why_not_.empty()) take_piece(r, all[r][offer.index], offer);
      }
    }
    if (!meet(island, deadline_seconds))
      throw error(BALLAST_ERROR_DEADLINE, fmt::format("not all ranks have opened {}", what));
  }
  const verdict opened = verdict_of([&] { open_runs(); });
  if (opened.status != BALLAST_OK && why_not_.empty()) why_not_ = opened.text;
}

void peer_memory::take_piece(int neighbour, const exported_memory& e, const piece_offer& offer) {
  std::string why_not;
  if (offer.fd < 0) {
    why_not = fmt::format("it has neither a handle of CUDA IPC nor a file descriptor (CUresult {})",
                          offer.refusal);
  }
  owned_fd taken;
  if (why_not.empty()) taken = take_over(static_cast<pid_t>(offer.owner), offer.fd, why_not);
  if (why_not.empty()) {
    const auto run = std::ranges::find_if(neighbours_[neighbour].runs,
                                          [&](const piece_run& one) { return one.holds(e.base); });
    why_not = verdict_of([&] { run->map(e.base, e.bytes, taken); }).text;
  }
  if (!why_not.empty()) note_failure(neighbour, e, why_not);
}

void peer_memory::open_runs() {
  int device = 0;
  BALLAST_CUDA(cudaGetDevice(&device));
  for (neighbour_view& view : neighbours_) {
    if (!why_not_.empty()) return;
    for (piece_run& run : view.runs) run.open(device);
  }
}

// Reserves room for the pieces of a neighbour: rows cross from one piece into the next.
void peer_memory::map_pieces(int neighbour, const std::vector<exported_memory>& theirs) {
  const std::vector<std::size_t> pieces = pieces_of(theirs);
  for (std::size_t first = 0, last; first < pieces.size() && why_not_.empty(); first = last) {
    std::uint64_t end = theirs[pieces[first]].base;
    for (last = first; last < pieces.size() && theirs[pieces[last]].base == end; ++last)
      end += theirs[pieces[last]].bytes;
    const exported_memory& begin = theirs[pieces[first]];
    const verdict reserved =
        verdict_of([&] { neighbours_[neighbour].runs.emplace_back(begin.base, end - begin.base); });
    if (reserved.status != BALLAST_OK) note_failure(neighbour, begin, reserved.text);
  }
}

void peer_memory::probe(int neighbour, const std::vector<exported_memory>& theirs) {
  const device_buffer<std::byte> scratch(probe_bytes_max);
  for (const exported_memory& e : theirs) {
    const std::size_t bytes = std::min<std::size_t>(e.bytes, probe_bytes_max);
    const cudaError_t pulled =
        cudaMemcpy(scratch.data(), neighbours_[neighbour].here(e.base), bytes, cudaMemcpyDefault);
    if (pulled != cudaSuccess) {
      cudaGetLastError();
      note_failure(neighbour, e, fmt::format("it cannot be read: {}", cudaGetErrorName(pulled)));
      return;
    }
    if (hash_of_probe(scratch.data(), bytes) != e.probe_hash) {
      note_failure(neighbour, e, "reading it gives other bytes than its owner has");
      return;
    }
  }
}

void peer_memory::note_failure(int neighbour, const exported_memory& what,
                               const std::string& why_not) {
  if (!why_not_.empty()) return;
  why_not_ =
      fmt::format("rank {} of the island, {} of {} bytes: {}", neighbour,
                  what.is_piece != 0 ? "a mapped piece" : "an allocation", what.bytes, why_not);
}

const std::byte* peer_memory::neighbour_view::here(std::uintptr_t address) const {
  for (const piece_run& run : runs) {
    if (run.holds(address)) return run.here(address);
  }
  for (const allocation_view& a : allocations) {
    if (address >= a.base && address < a.base + a.bytes)
      return static_cast<const std::byte*>(a.here.get()) + (address - a.base);
  }
  throw error(BALLAST_ERROR_SYSTEM, "a neighbour's rows are in no memory that it has exported");
}

const std::byte* peer_memory::address(int neighbour, int layer, int tensor,
                                      weight_location where) const {
  const neighbour_view& view = neighbours_[neighbour];
  if (where.half < 0) {
    const tensor_view& t = view.tensors[first_tensor_[layer] + tensor];
    return t.base + where.row * t.stride;
  }
  return view.staging + mine_->staging_offset(layer, tensor, where);
}

}  // namespace ballast
