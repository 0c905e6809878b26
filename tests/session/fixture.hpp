// An Engine, what it wants done and what it says, for the tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "session/engine.hpp"
#include "tests/support/default_settings.hpp"

namespace mailbridge::session {

using test::default_settings;

inline const TimePoint t0 = TimePoint(std::chrono::hours(1));

class EngineFixture : public testing::Test {
 protected:
  // Another engine, with what `settings` is now.
  void start() { engine = std::make_unique<Engine>(settings, 7); }

  void smtpd(const std::string& lines) {
    engine->receive(lines, now);
    collect();
  }
  void smtpd(const std::string& lines, TimePoint when) {
    engine->receive(lines, when);
    collect();
  }
  void pass(Duration duration) {
    now += duration;
    engine->tick(now);
    collect();
  }
  void collect() {
    for (Command& command : engine->take_commands()) std::visit([this](auto& wanted) { keep(wanted); }, command);
  }
  std::string output() {
    std::string all;
    for (auto bytes = engine->output(); !bytes.empty(); bytes = engine->output()) {
      all += bytes;
      engine->written(bytes.size());
    }
    return all;
  }
  void verdict(ScanId id, const std::string& action, TimePoint when) {
    rspamd::Verdict verdict;
    verdict.action = action;
    engine->scan_finished(id, verdict, when);
    collect();
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const Note& note : notes) all.push_back(note.text);
    return all;
  }

  // ---- lines of smtpd, about the session "0a" unless another is named

  static std::string report(const std::string& event, const std::string& id = "0a") {
    const std::size_t bar = event.find('|');
    return "report|0.7|1.2|smtp-in|" + event.substr(0, bar) + "|" + id + (bar == std::string::npos ? "" : event.substr(bar)) +
           "\n";
  }
  static std::string connect(const std::string& id = "0a", const std::string& dest = "192.0.2.9:25") {
    return report("link-connect|mx.example.net|pass|192.0.2.1:99|" + dest, id) + report("link-greeting|mx.example.org", id) +
           report("link-identify|EHLO|mx.example.net", id);
  }
  static std::string rcpt_to(const std::string& address, const std::string& id = "0a") {
    return "filter|0.7|1.2|smtp-in|rcpt-to|" + id + "|70|" + address + "\n";
  }
  static std::string data(const std::string& line, const std::string& id = "0a") {
    return "filter|0.7|1.2|smtp-in|data-line|" + id + "|d0|" + line + "\n";
  }
  static std::string commit(const std::string& id = "0a") { return "filter|0.7|1.2|smtp-in|commit|" + id + "|c0|\n"; }

  Settings settings = default_settings();
  std::unique_ptr<Engine> engine = std::make_unique<Engine>(settings);
  TimePoint now = t0;
  std::map<ScanId, StartScan> scans;  // that were wanted
  std::vector<ScanId> cancelled_scans;
  std::map<std::string, recipients::StartLookup> lookups;  // that were wanted and have no answer, by recipient
  std::vector<recipients::StartDelivery> deliveries;
  std::vector<recipients::DeliveryId> cancelled_deliveries;
  std::vector<Note> notes;

 private:
  void keep(StartScan& scan) { scans.insert_or_assign(scan.id, std::move(scan)); }
  void keep(CancelScan& cancel) { cancelled_scans.push_back(cancel.id); }
  void keep(recipients::StartLookup& lookup) { lookups.insert_or_assign(lookup.recipient, std::move(lookup)); }
  void keep(recipients::StartDelivery& delivery) { deliveries.push_back(std::move(delivery)); }
  void keep(recipients::CancelDelivery& cancel) { cancelled_deliveries.push_back(cancel.id); }
  void keep(Note& note) { notes.push_back(std::move(note)); }
  void keep(AskForSize&) {}
};

}  // namespace mailbridge::session
