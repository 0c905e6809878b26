// Certificates for tests, and who issued them.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <openssl/evp.h>
#include <openssl/x509.h>

namespace mailbridge::test {

// A key and its certificate, in PEM files that its authority removes.
struct Certificate {
  Certificate() = default;
  ~Certificate() {
    X509_free(x509);
    EVP_PKEY_free(key);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  X509* x509 = X509_new();
  EVP_PKEY* key = EVP_EC_gen("P-256");
  std::string file;
  std::string key_file;
};

struct CertificateOf {
  std::string names = "DNS:scan.example.org,IP:127.0.0.1";
  bool is_authority = false;
  long days = 1;
};

class Authority {
 public:
  explicit Authority(const std::string& name = "root");
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  void issue(Certificate& to, const std::string& name, const CertificateOf& what) { issue(to, name, what, root_); }
  const std::string& file() const { return root_.file; }  // its own certificate

  // A file in its directory.
  std::string write(const std::string& name, const std::function<void(std::FILE*)>& content);

 private:
  void issue(Certificate& to, const std::string& name, const CertificateOf& what, const Certificate& by);

  std::string directory_;
  std::vector<std::string> files_;
  Certificate root_;
};

}  // namespace mailbridge::test
