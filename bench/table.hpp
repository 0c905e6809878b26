// Measures filters under a load, and prints a table of it.
#pragma once

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/io.hpp"
#include "bench/rspamd.hpp"

namespace mailbridge::bench {

// A filter that is measured.
struct Contender {
  std::string name;
  std::string command;
  bool scans() const { return command.find(mark) != std::string::npos; }
  static constexpr std::string_view mark = "@RSPAMD@";
};

struct Load {
  std::string name;
  std::size_t mail_size, warm_up, mails, in_flight;
  std::size_t idle = 0;            // other sessions that are open
  bool drip = false;               // one of them sends a byte now and then
  bool local = false;              // rspamd is on a unix socket for a filter that has --rspamd; filter-rspamd speaks TCP alone
  Clock::duration scan{};          // how long rspamd takes for each mail
  Clock::duration slowest_scan{};  // and for the first of them
};

struct Sample {
  double cpu_us, seconds, median_ms, worst_ms, peak_mb, rest_mb, open_mb;
};

template <class Values>
double quantile(Values values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}
inline double median(const std::vector<double>& values) { return quantile(values, 0.5); }

Sample measure(const Contender& contender, Rspamd& rspamd, const Load& load);

// "9.87 MB"
std::string number(double value, const char* unit);

// One measure of every filter, in rounds that take turns.
class Table {
 public:
  Table(const std::vector<Contender>& contenders, Rspamd& rspamd) : contenders_(contenders), rspamd_(rspamd) {}

  static constexpr std::size_t floor = 0, ours = 1;
  std::size_t peer() const { return contenders_.size() - 1; }

  void begin() const {
    std::printf("| measure |");
    for (const Contender& contender : contenders_) std::printf(" %s |", contender.name.c_str());
    std::printf(" ratio | target |\n|---|");
    for (std::size_t i = 0; i < contenders_.size(); ++i) std::printf("--:|");
    std::printf("--:|---|\n");
  }

  // samples[filter][round]; none of a filter that does not scan when rspamd matters.
  std::vector<std::vector<Sample>> run(const Load& load, std::size_t rounds, bool floor_too) const {
    std::vector<std::vector<Sample>> samples(contenders_.size());
    for (std::size_t round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < contenders_.size(); ++i) {
        if (floor_too || contenders_[i].scans()) samples[i].push_back(measure(contenders_[i], rspamd_, load));
      }
    }
    return samples;
  }

  // The target is a bound of ours alone, or, with `of_ratio`, of its ratio to the peer's.
  struct Target {
    double bound;
    bool of_ratio;
    const char* words;
  };

  template <class Value>
  void row(const std::string& name, const std::vector<std::vector<Sample>>& samples, Value value, const char* unit,
           std::optional<Target> target = {}) const {
    std::string line = "| " + name + " |";
    for (const auto& rounds : samples) line += rounds.empty() ? " |" : " " + number(each(rounds, value), unit) + " |";
    const double to_peer = ratio(samples[ours], samples[peer()], value);
    char text[20];
    std::snprintf(text, sizeof text, " %.3f |", to_peer);
    line += text;
    if (target) line += " " + judged(target->of_ratio ? to_peer : each(samples[ours], value), target->bound, target->words);
    print(line + " |");
  }

  // Two loads of the same filters: what the second costs more.
  template <class Value>
  void row_of_ratios(const std::string& name, const std::vector<std::vector<Sample>>& from,
                     const std::vector<std::vector<Sample>>& to, Value value, double bound, const char* words) const {
    std::string line = "| " + name + " |";
    for (std::size_t i = 0; i < from.size(); ++i)
      line += from[i].empty() ? " |" : " " + number(ratio(to[i], from[i], value), "") + " |";
    print(line + "  | " + judged(ratio(to[ours], from[ours], value), bound, words) + " |");
  }

  void row_to_floor(const std::string& name, const std::vector<std::vector<Sample>>& samples, double bound,
                    const char* words) const {
    std::string line = "| " + name + " |";
    for (const auto& rounds : samples) line += " " + number(ratio(rounds, samples[floor], cpu), "") + " |";
    print(line + "  | " + judged(ratio(samples[ours], samples[floor], cpu), bound, words) + " |");
  }

  static double cpu(const Sample& sample) { return sample.cpu_us; }

 private:
  static void print(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
  }
  static std::string judged(double value, double bound, const char* words) {
    return std::string(words) + ": " + (value <= bound ? "met" : "missed");
  }
  template <class Value>
  static double each(const std::vector<Sample>& rounds, Value value) {
    std::vector<double> values;
    for (const Sample& sample : rounds) values.push_back(value(sample));
    return median(values);
  }
  // The median of the rounds' own ratios.
  template <class Value>
  static double ratio(const std::vector<Sample>& over, const std::vector<Sample>& under, Value value) {
    std::vector<double> values;
    for (std::size_t i = 0; i < over.size(); ++i) values.push_back(value(over[i]) / value(under[i]));
    return median(values);
  }

  const std::vector<Contender>& contenders_;
  Rspamd& rspamd_;
};

}  // namespace mailbridge::bench
