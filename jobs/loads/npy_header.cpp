#include "jobs/loads/npy_header.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "jobs/loads/load_source.hpp"
#include "jobs/loads/printable.hpp"

namespace ballast {

namespace {

// Reads the few forms of Python that NumPy writes, left to right, without recursion.
class header_reader {
 public:
  header_reader(std::string_view text, const byte_source& source) : rest_(text), source_(source) {}

  npy_header read() {
    npy_header header;
    bool has_type = false, has_order = false, has_shape = false;
    require('{');
    while (!accept('}')) {
      const std::string_view name = quoted();
      require(':');
      bool* seen = name == "descr"           ? &has_type
                   : name == "fortran_order" ? &has_order
                   : name == "shape"         ? &has_shape
                                             : nullptr;
      if (seen == nullptr) fail(fmt::format("has an unknown field '{}'", printable(name, 40)));
      if (*seen) fail(fmt::format("has '{}' twice", name));
      *seen = true;
      if (seen == &has_type) header.type = type();
      if (seen == &has_order) header.fortran_order = boolean();
      if (seen == &has_shape) header.shape = shape();
      if (!accept(',') && !next_is('}')) fail_here("expected ',' or '}'");
    }
    skip_blanks();
    if (!rest_.empty()) fail_here("has text after the dictionary");
    if (!has_type) fail("has no 'descr'");
    if (!has_order) fail("has no 'fortran_order'");
    if (!has_shape) fail("has no 'shape'");
    return header;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    source_.fail(fmt::format(".npy header {}", what));
  }
  [[noreturn]] void fail_here(std::string_view what) const {
    fail(fmt::format("{} at \"{}\"", what, printable(rest_, 40)));
  }

  void skip_blanks() {
    const std::size_t first = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(first == std::string_view::npos ? rest_.size() : first);
  }
  bool next_is(char wanted) {
    skip_blanks();
    return !rest_.empty() && rest_.front() == wanted;
  }
  bool accept(char wanted) {
    if (!next_is(wanted)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void require(char wanted) {
    if (!accept(wanted)) fail_here(fmt::format("expected '{}'", wanted));
  }

  std::string_view quoted() {
    skip_blanks();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"'))
      fail_here("expected a quoted name");
    const std::size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) fail_here("has an unfinished name");
    const std::string_view name = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return name;
  }

  bool boolean() {
    skip_blanks();
    for (const std::string_view word : {std::string_view("True"), std::string_view("False")}) {
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return word == "True";
    }
    fail_here("expected True or False");
  }

  std::vector<std::int64_t> shape() {
    constexpr std::size_t dimensions_max = 8;
    std::vector<std::int64_t> sizes;
    require('(');
    while (!accept(')')) {
      skip_blanks();
      std::int64_t size = -1;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0 || size > load_max)
        fail_here("expected a size in 'shape'");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      sizes.push_back(size);
      if (sizes.size() > dimensions_max)
        fail(fmt::format("'shape' has more than {} dimensions", dimensions_max));
      if (!accept(',') && !next_is(')')) fail_here("expected ',' or ')'");
    }
    return sizes;
  }

  npy_type type() {
    if (next_is('[')) fail("'descr' is a record; counts must be plain integers or floats");
    const std::string_view text = quoted();
    const bool has_order = text.size() == 3 && (text[0] == '<' || text[0] == '>' || text[0] == '|');
    const char kind = has_order ? text[1] : '?';
    const char size = has_order ? text[2] : '?';
    const bool is_integer =
        (kind == 'i' || kind == 'u') && (size == '1' || size == '2' || size == '4' || size == '8');
    const bool is_float = kind == 'f' && (size == '2' || size == '4' || size == '8');
    if (!(is_integer || is_float) || (text[0] == '|' && size != '1')) {
      fail(fmt::format(
          "'descr' is '{}'; counts must be integers of 8 to 64 bits or floats of 16 to 64",
          printable(text, 40)));
    }
    return {kind, size - '0', text[0] == '>'};
  }

  std::string_view rest_;
  const byte_source& source_;
};

}  // namespace

npy_header parse_npy_header(std::string_view text, const byte_source& source) {
  return header_reader(text, source).read();
}

}  // namespace ballast
