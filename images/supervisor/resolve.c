// Names to addresses. getaddrinfo is no choice: a static binary would need the very C library it was built with.
#include "dial.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 53
#define MOST_SERVERS 3
#define MOST_DOMAINS 6
#define ATTEMPTS 2
#define BLANKS " \t\r\n"

static struct sockaddr_storage servers[MOST_SERVERS];
static char domains[MOST_DOMAINS][MAX_NAME + 1];
static int server_count, domain_count;

// The next line's words, to be taken with strtok_r; NULL at the end. What is past its bound is not read.
static char *line_of(FILE *file, char *line, size_t size) {
  if (!file || !fgets(line, (int)size, file))
    return NULL;
  if (!strchr(line, '\n'))
    for (int c; (c = fgetc(file)) != EOF && c != '\n';)
      ;
  line[strcspn(line, "#;")] = 0;
  return line;
}

static int from_hosts(const char *name, struct in_addr *to, int room) {
  char line[4096], *rest, *word;
  FILE *file = fopen("/etc/hosts", "re");
  int found = 0;
  while (found < room && line_of(file, line, sizeof line)) {
    struct in_addr address;
    if (!(word = strtok_r(line, BLANKS, &rest)) || inet_pton(AF_INET, word, &address) != 1)
      continue;
    while ((word = strtok_r(NULL, BLANKS, &rest)))
      if (!strcasecmp(word, name)) {
        to[found++] = address;
        break;
      }
  }
  if (file)
    fclose(file);
  return found;
}

static void add_server(const char *word) {
  struct sockaddr_storage *s = &servers[server_count];
  struct sockaddr_in *four = (struct sockaddr_in *)s;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)s;
  memset(s, 0, sizeof *s);
  if (inet_pton(AF_INET, word, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(PORT);
  } else if (inet_pton(AF_INET6, word, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(PORT);
  } else {
    return;
  }
  server_count++;
}

static void read_configuration(void) {
  char line[1024], *rest, *word;
  FILE *file = fopen("/etc/resolv.conf", "re");
  server_count = domain_count = 0;
  while (line_of(file, line, sizeof line)) {
    if (!(word = strtok_r(line, BLANKS, &rest)))
      continue;
    if (!strcmp(word, "nameserver")) {
      if (server_count < MOST_SERVERS && (word = strtok_r(NULL, BLANKS, &rest)))
        add_server(word);
    } else if (!strcmp(word, "search") || !strcmp(word, "domain")) {
      domain_count = 0; // the last one holds
      while (domain_count < MOST_DOMAINS && (word = strtok_r(NULL, BLANKS, &rest)))
        if (strlen(word) <= MAX_NAME && strcmp(word, "."))
          strcpy(domains[domain_count++], word);
    }
  }
  if (file)
    fclose(file);
  if (server_count == 0)
    add_server("127.0.0.1");
}

// What one server says within a time. The kernel lets through only what comes from there, to a port of its choice.
static int ask(const struct sockaddr_storage *server, const char *name, uint64_t within, struct in_addr *to, int room) {
  uint8_t question[DNS_MOST], answer[DNS_MOST];
  uint16_t id;
  random_bytes(&id, sizeof id);
  size_t asked = dns_question(question, id, name);
  int fd = asked ? socket(server->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1, found = -2;
  socklen_t size = server->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  uint64_t until = now() + within;
  if (fd >= 0 && connect(fd, (const struct sockaddr *)server, size) == 0 &&
      send(fd, question, asked, MSG_NOSIGNAL) == (ssize_t)asked) {
    while (dial_wait(fd, POLLIN, until)) {
      ssize_t n = recv(fd, answer, sizeof answer, 0);
      if (n < 0 && errno != EAGAIN && errno != EINTR)
        break; // nobody listens there
      found = n < 0 ? -1 : dns_addresses(answer, (size_t)n, question, asked, to, room);
      if (found != -1)
        break;
      found = -2;
    }
  }
  if (fd >= 0)
    close(fd);
  return found;
}

static int ask_all(const char *name, struct in_addr *to, int room) {
  for (uint64_t attempt = 1; attempt <= ATTEMPTS; attempt++)
    for (int i = 0; i < server_count; i++) {
      int found = ask(&servers[i], name, attempt * NS, to, room);
      if (found >= 0)
        return found;
    }
  return -2;
}

int resolve(const char *name, struct in_addr *to, int room) {
  int found = from_hosts(name, to, room);
  if (found > 0)
    return found;
  read_configuration();
  found = ask_all(name, to, room);
  for (int i = 0; found == 0 && i < domain_count; i++) {
    char longer[2 * MAX_NAME + 2];
    snprintf(longer, sizeof longer, "%s.%s", name, domains[i]);
    found = name[strlen(name) - 1] == '.' ? -2 : ask_all(longer, to, room);
  }
  return found > 0 ? found : 0;
}
