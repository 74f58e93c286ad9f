#pragma once
// Which GPU a rank takes: of those that its process sees, the one numbered as the rank is on its
// node, modulo how many there are. Launchers that show each rank one GPU and those that show all of
// them to all both work.

#include <string>

#include "jobs/mpi_session.hpp"

namespace ballast::gpu {

struct choice {
  int device = -1;       ///< CUDA's number in this process; -1: there is none
  std::string model;     ///< "NVIDIA H100 80GB HBM3"
  std::string why_none;  ///< CUDA's own words
  int sharers = 0;       ///< ranks of the node that took this GPU, this one too
  int first_sharer = 0;  ///< the lowest of them
};

/// Collective.
choice choose(const mpi_session& mpi);

}  // namespace ballast::gpu
