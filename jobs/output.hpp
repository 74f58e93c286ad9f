#pragma once
// Where `--json FILE|-` goes, and how JSON documents of the command line begin.

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace ballast {

/// {"schema": "ballast.<command>/1", "version": ..., "command": ...}
nlohmann::ordered_json json_head(const std::string& command);

/// Writes `text` to a file by way of a temporary beside it and a rename, so that a reader sees the
/// old or the new whole; links stay, and what is no file (a device, a pipe) is written to. Throws
/// job_error(system) naming the file.
void write_file(const std::string& path, const std::string& text);

/// For a job that writes only when it ends: throws now what write_file would throw then. Nothing
/// for an empty path or "-".
void require_writable(const std::string& path);

/// Nothing for an empty destination, standard output for "-", a file otherwise.
void write_json(const nlohmann::ordered_json& document, const std::string& destination);

}  // namespace ballast
