// Functions for Option::take. Each stores a value in one member of the struct that read_table() is given, after checking it.
#pragma once

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mailbridge::options {

template <class Member>
struct ClassOf;
template <class Class, class Member>
struct ClassOf<Member Class::*> {
  using type = Class;
};

template <auto Member>
auto& of(void* values) {
  return static_cast<typename ClassOf<decltype(Member)>::type*>(values)->*Member;
}

inline void put(std::string& kept, std::string_view value) { kept = value; }
inline void put(std::optional<std::string>& kept, std::string_view value) { kept = value; }
inline void put(std::vector<std::string>& kept, std::string_view value) { kept.emplace_back(value); }
inline void put(bool& kept, std::string_view value) { kept = value == "true"; }

template <auto Member>
std::string keep(void* values, std::string_view value) {
  put(of<Member>(values), value);
  return {};
}

// Stores a value that `Parse`, a function that returns a Result, accepts.
template <auto Member, auto Parse>
std::string parsed(void* values, std::string_view value) {
  const auto result = Parse(value);
  if (!result) return result.error().what;
  return keep<Member>(values, value);
}

// Stores one of the words of a type, "one|other".
struct Words {
  char words[40];
};
template <auto Member, Words Type>
std::string one_of(void* values, std::string_view value) {
  const std::string all = "|" + std::string(Type.words) + "|";
  const bool known = value.find('|') == std::string_view::npos && all.find("|" + std::string(value) + "|") != std::string::npos;
  return known ? keep<Member>(values, value) : "one of " + std::string(Type.words) + " is wanted, not " + std::string(value);
}

template <auto Member, int Most>
std::string seconds(void* values, std::string_view value) {
  const std::string text(value);
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(number >= 0.1 && number <= Most))
    return "a number of seconds from 0.1 to " + std::to_string(Most) + " is wanted, not " + text;
  of<Member>(values) = number;
  return {};
}

template <auto Member, unsigned Least, unsigned Most>
std::string whole_number(void* values, std::string_view value) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < Least || number > Most)
    return "a number from " + std::to_string(Least) + " to " + std::to_string(Most) + " is wanted, not " + std::string(value);
  of<Member>(values) = number;
  return {};
}

}  // namespace mailbridge::options
