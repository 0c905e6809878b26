// Plays smtpd (protocol 0.6, as Debian 12's) and rspamd around one filter at a time and measures the filter alone: its CPU time,
// its memory, and the mails that went through per second. Each mail is its own session, as most mail is; several are in flight,
// their lines interleaved. A wrong, doubled or missing answer, or a mail that came back altered, ends the run.
//
//   bench-filters [--smoke] [--rounds N] REPLY.json NAME=COMMAND…
//
// In a command @RSPAMD@ stands for the address of the rspamd played here. The first filter is the floor, the second the one that
// is judged, and the last its peer.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "bench/io.hpp"
#include "bench/rspamd.hpp"
#include "bench/table.hpp"

namespace {

using namespace mailbridge::bench;
using std::chrono::milliseconds;
using Samples = std::vector<std::vector<Sample>>;

double peak(const Sample& sample) { return sample.peak_mb; }
double worst(const Sample& sample) { return sample.worst_ms; }
double typical(const Sample& sample) { return sample.median_ms; }
auto rate(std::size_t mails) {
  return [mails](const Sample& sample) { return static_cast<double>(mails) / sample.seconds; };
}

// All loads, at full size or small.
class Loads {
 public:
  Loads(const std::vector<Contender>& contenders, Rspamd& rspamd, std::size_t rounds, bool smoke)
      : contenders_(contenders), table_(contenders, rspamd), rounds_(rounds), smoke_(smoke) {}

  void run() {
    table_.begin();
    const Samples smalls = table_.run(small(), rounds_, true);
    small_mails(smalls);
    large_mails();
    table_.row(
        "memory at rest", smalls, [](const Sample& s) { return s.rest_mb; }, " MB", Table::Target{10, false, "≤ 10 MB"});
    open_sessions();
    all_at_once();
    giant_mail();
    table_.row("4 kB mails, 8 at once: a mail's time, median", smalls, typical, " ms");
    table_.row("the 99th percentile of it", smalls, worst, " ms");
    beside_others();
  }

 private:
  std::size_t scaled(std::size_t full, std::size_t smoke) const { return smoke_ ? smoke : full; }
  Load small() const { return {"4 kB", 4096, scaled(100, 1), scaled(1000, 20), 8}; }

  void small_mails(const Samples& smalls) const {
    table_.row("CPU per 4 kB mail", smalls, Table::cpu, " µs", Table::Target{1.0 / 6, true, "≤ 1/6 of the peer"});
    table_.row("4 kB mails per second", smalls, rate(small().mails), "");
    Load locals = small();
    locals.name = "4 kB, rspamd on a unix socket";
    locals.local = true;
    table_.row("CPU per 4 kB mail, rspamd on a unix socket (the peer cannot: TCP)", table_.run(locals, rounds_, false),
               Table::cpu, " µs", Table::Target{1.0 / 6, true, "≤ 1/6 of the peer"});
  }

  void large_mails() const {
    const Load large{"1 MB", 1024 * 1024, scaled(8, 1), scaled(40, 3), scaled(8, 2)};
    const Samples larges = table_.run(large, rounds_, true);
    table_.row("CPU per 1 MB mail", larges, Table::cpu, " µs", Table::Target{1.0 / 12, true, "≤ 1/12 of the peer"});
    table_.row_to_floor("CPU per 1 MB mail, times the floor", larges, 3, "≤ 3 × the floor");
    table_.row("1 MB mails per second", larges, rate(large.mails), "");
  }

  void open_sessions() const {
    Load one_open = small();
    one_open.name = "4 kB, 1 session open";
    one_open.idle = 1;
    Load many_open = small();
    many_open.name = "4 kB, many sessions open";
    many_open.idle = scaled(10'000, 100);
    // Round by round, so that a busy machine is busy for both.
    Samples with_one(contenders_.size()), with_many(contenders_.size());
    for (std::size_t round = 0; round < rounds_; ++round) {
      const Samples one = table_.run(one_open, 1, false);
      const Samples many = table_.run(many_open, 1, false);
      for (std::size_t i = 0; i < contenders_.size(); ++i) {
        with_one[i].insert(with_one[i].end(), one[i].begin(), one[i].end());
        with_many[i].insert(with_many[i].end(), many[i].begin(), many[i].end());
      }
    }
    table_.row_of_ratios("CPU per 4 kB mail with 10,000 sessions open, times that with one", with_one, with_many, Table::cpu, 1.2,
                         "≤ 1.2");
    table_.row(
        "memory with 10,000 idle sessions", with_many, [](const Sample& s) { return s.open_mb; }, " MB");
  }

  void all_at_once() const {
    Load crowd{"100 kB each, all at once", 100 * 1000, 0, scaled(1000, 20), scaled(1000, 20)};
    crowd.scan = milliseconds(scaled(1000, 50));
    const Samples crowds = table_.run(crowd, 1, false);
    table_.row("peak memory, 1,000 × 100 kB at once, 1 s a scan", crowds, peak, " MB", Table::Target{96, false, "≤ 96 MB"});
    table_.row(
        "until the last of them is through", crowds, [](const Sample& s) { return s.seconds; }, " s");
  }

  void giant_mail() const {
    const Load giant{"40 MB", scaled(40 << 20, 4 << 20), 0, 1, 1};
    const Samples giants = table_.run(giant, 1, true);
    table_.row(
        "CPU for a 40 MB mail", giants, [](const Sample& s) { return s.cpu_us / 1000; }, " ms");
    table_.row("peak memory for it", giants, peak, " MB");
  }

  void beside_others() const {
    Load beside_drip = small();
    beside_drip.name = "4 kB, beside a client that sends a byte now and then";
    beside_drip.idle = 1;
    beside_drip.drip = true;
    const Samples dripping = table_.run(beside_drip, rounds_, false);
    table_.row("beside a client that sends a byte every 5 ms: median", dripping, typical, " ms");
    table_.row("the 99th percentile of it", dripping, worst, " ms");
    Load beside_slow = small();
    beside_slow.name = "4 kB, beside a slow scan";
    beside_slow.slowest_scan = milliseconds(scaled(2000, 50));
    const Samples slow = table_.run(beside_slow, 1, false);
    table_.row("while one mail's scan takes 2 s: median", slow, typical, " ms");
    table_.row("the 99th percentile of it", slow, worst, " ms");
  }

  const std::vector<Contender>& contenders_;
  const Table table_;
  const std::size_t rounds_;
  const bool smoke_;
};

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const std::vector<std::string>& words) {
  bool smoke = false;
  std::size_t rounds = 5;
  std::size_t i = 0;
  for (; i < words.size() && words[i].starts_with("--"); ++i) {
    if (words[i] == "--smoke") smoke = true;
    else if (words[i] == "--rounds" && i + 1 < words.size()) rounds = std::strtoul(words[++i].c_str(), nullptr, 10);
    else fail("unknown option " + words[i]);
  }
  if (i + 1 >= words.size() || rounds == 0) fail("usage: bench-filters [--smoke] [--rounds N] REPLY.json NAME=COMMAND...");
  Rspamd rspamd(content_of(words[i]));
  std::vector<Contender> contenders;
  for (++i; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string::npos) fail("NAME=COMMAND is wanted, not " + words[i]);
    contenders.push_back({words[i].substr(0, equals), words[i].substr(equals + 1)});
  }
  if (contenders.size() < 2) fail("a floor and a filter are wanted");
  Loads(contenders, rspamd, smoke ? 1 : rounds, smoke).run();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    run(std::vector<std::string>(argv + 1, argv + argc));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench-filters: %s\n", error.what());
    return 1;
  }
}
