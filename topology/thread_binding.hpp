#pragma once
// Keeps a thread near a device, and off the core of the thread that it must not disturb.

#include <cstdint>
#include <span>
#include <string>

namespace ballast {

/// Binds the calling thread to those of `cpus` (OS indices) that it may use now (what the launcher
/// and the job's cgroup left it), less the CPU that `avoid_cpu` names (-1: none) when that leaves
/// any. Returns what happened in words for the log ("cpus 3-7", "not bound: ..."): a thread that
/// cannot be bound still works.
std::string bind_this_thread(std::span<const std::int32_t> cpus, int avoid_cpu);

/// The CPU that the calling thread runs on now, or -1.
int current_cpu();

}  // namespace ballast
