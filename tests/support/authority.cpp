#include "tests/support/authority.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace mailbridge::test {

Authority::Authority(const std::string& name) {
  char directory[] = "/tmp/mailbridge-tls-XXXXXX";
  directory_ = mkdtemp(directory);
  issue(root_, name, {.names = "", .is_authority = true, .days = 2}, root_);
}

Authority::~Authority() {
  for (const std::string& file : files_) unlink(file.c_str());
  rmdir(directory_.c_str());
}

std::string Authority::write(const std::string& name, const std::function<void(std::FILE*)>& content) {
  files_.push_back(directory_ + "/" + name);
  std::FILE* file = std::fopen(files_.back().c_str(), "w");
  content(file);
  std::fclose(file);
  return files_.back();
}

void Authority::issue(Certificate& to, const std::string& name, const CertificateOf& what, const Certificate& by) {
  X509_set_version(to.x509, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(to.x509), static_cast<long>(files_.size()) + 1);
  X509_gmtime_adj(X509_getm_notBefore(to.x509), -3 * 86400);
  X509_gmtime_adj(X509_getm_notAfter(to.x509), what.days * 86400);
  X509_set_pubkey(to.x509, to.key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(to.x509), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(to.x509, X509_get_subject_name(by.x509));
  const auto extension = [&](int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, by.x509, to.x509, nullptr, nullptr, 0);
    X509_EXTENSION* made = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    X509_add_ext(to.x509, made, -1);
    X509_EXTENSION_free(made);
  };
  extension(NID_basic_constraints, what.is_authority ? "critical,CA:TRUE" : "CA:FALSE");
  if (!what.names.empty()) extension(NID_subject_alt_name, what.names);
  X509_sign(to.x509, by.key, EVP_sha256());
  to.file = write(name + ".pem", [&](std::FILE* file) { PEM_write_X509(file, to.x509); });
  to.key_file =
      write(name + ".key", [&](std::FILE* file) { PEM_write_PrivateKey(file, to.key, nullptr, nullptr, 0, nullptr, nullptr); });
}

}  // namespace mailbridge::test
