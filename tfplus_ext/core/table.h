// A dynamic embedding table: int64 key → float32 row, with optimizer slots, frequency and last-seen time beside it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "batch.h"
#include "initializer.h"
#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "shard.h"
#include "threads.h"

namespace tfplus {

enum class Admission { always, count, probability };
enum class WriteOp { assign, add, subtract, multiply, divide, minimum, maximum };
enum class NonFinite { refuse, skip };
/// What keys without a row read when they are only looked at.
enum class Unseen { zeros, first_value };

struct TableOptions {
  size_t width = 1;
  std::string optimizer = "sgd";
  std::vector<double> parameters;  // of the optimizer, all of them, in its order
  std::string initializer = "zeros";
  std::vector<double> initial;  // parameters of the initializer, in its order
  uint64_t seed = 0;
  Admission admission = Admission::always;
  double admit = 0;  // after so many sightings, or with this probability
  size_t max_rows = 0;  // 0: no limit
  bool evict_at_limit = false;  // otherwise reaching the limit is an error
  size_t shards = 64;
  size_t threads = 1;
};

/// What is evicted: rows that fall under any bound that is given.
struct Eviction {
  bool by_time = false, by_count = false, by_norm = false, by_rows = false;
  uint32_t before = 0;     // last seen before this
  uint32_t min_count = 0;  // seen less often than this
  double min_norm = 0;     // a smaller L2 norm than this
  size_t max_rows = 0;     // all beyond this many: longest unseen first, then least seen, then by key
};

struct Counters {
  uint64_t lookups = 0;  // batches looked up for training
  uint64_t steps = 0;
  uint64_t evicted = 0;
  uint64_t now = 0;      // the latest time that a step came with, seconds since 1970
  uint64_t skipped_rows = 0;  // updates left out for a gradient that is not finite
};

/// Thrown when `max_rows` is reached and nothing may be evicted.
struct Full : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Thrown for gradients that are not finite; the table is unchanged.
struct BadGradient : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Operations are on whole batches. They may be called from several threads, one works at a time; a snapshot is
/// written beside them. Results do not depend on the number of threads.
class Table {
 public:
  /// Throws std::invalid_argument for what does not exist or cannot be a value.
  explicit Table(const TableOptions& options);

  size_t width() const { return layout_.width; }
  size_t stride() const { return layout_.stride; }
  const OptimizerInfo& optimizer() const { return optimizer_; }

  /// Rows of the keys into `out` [n, width]; nothing changes.
  void look(const int64_t* keys, size_t n, Unseen unseen, float* out);

  /// The same for training: keys count as seen, and become rows when they are admitted; zeros for those that are
  /// not. Throws Full, std::bad_alloc.
  void lookup(const int64_t* keys, size_t n, float* out);

  /// One step of the optimizer, for `gradients` [n, width]; those of the same key are added up first. Keys that
  /// were looked up and not admitted are left alone. `rate`: the learning rate of this step; NaN: the table's.
  /// Throws BadGradient, Full, std::bad_alloc.
  void apply(const int64_t* keys, size_t n, const float* gradients, uint32_t time, double rate, NonFinite policy);

  /// Rows [n, width] written one after the other. A key without a row gets one, whatever the admission.
  void write(const int64_t* keys, size_t n, const float* rows, WriteOp op);

  void counts(const int64_t* keys, size_t n, int64_t* out);
  void times(const int64_t* keys, size_t n, int64_t* out);  // -1: never seen
  void contains(const int64_t* keys, size_t n, bool* out);
  /// Slots of the keys, [n, stride - width]; zeros for what is not a row.
  void slots(const int64_t* keys, size_t n, float* out);

  size_t erase(const int64_t* keys, size_t n);
  size_t evict(const Eviction& eviction);
  void clear();

  size_t size();
  size_t candidates();
  size_t bytes();
  Counters counters();
  void set_counters(const Counters& counters);

  /// All keys that are rows, ascending.
  std::vector<int64_t> keys();

  // -- snapshots: freeze, then take until it is empty, on any thread; then committed or aborted. ----------

  struct Changes {
    size_t rows, deleted;
    bool known;  // false: too many keys were deleted to remember; only a full snapshot will do
  };
  Changes changes();

  struct Frozen {
    uint64_t ticket;
    size_t rows;
    Candidates candidates;
    std::vector<int64_t> deleted;
    Counters counters;
  };
  Frozen freeze(bool full);
  /// Adds up to about `rows` rows of the frozen instant to `part`; false when there are none left. Throws
  /// std::runtime_error when the snapshot of that ticket was aborted, or the table cleared.
  bool take(uint64_t ticket, Part& part, size_t rows);
  void committed();
  void aborted();

  /// Adds rows as they were saved; keys among them lose what they held.
  void load(const Part& part);
  void load(const Candidates& candidates);
  void mark_clean();

  struct Content {
    bool whole;  // in place of everything; false: on top of what is there
    std::vector<int64_t> deleted;
    Candidates candidates;
    Part rows;
    Counters counters;
  };
  /// All of it at once: nobody sees a part. What was taken over whole counts as unchanged.
  void take_over(const Content& content);

 private:
  Shard& shard_of(uint64_t hash) { return *shards_[hash & shard_mask_]; }
  /// Splits the batch, finds the rows of its different keys, and goes on with each group, on its thread.
  void find(const int64_t* keys, size_t n, const std::function<void(Group&)>& then = {});
  bool carried(const int64_t* keys, size_t n) const;
  /// Rows for those keys of the batch that have none and may have one. Counts sightings.
  void admit(Group& group);
  bool admitted(const Shard& shard, int64_t key, uint64_t hash, uint32_t repeats) const;
  /// A key that is not admitted yet is counted.
  void wait(Shard& shard, int64_t key, uint64_t hash, uint32_t repeats);
  void make(Shard& shard, Group& group, size_t u, uint64_t hash);
  /// Room for the rows that this batch adds: of `all` keys that have none, or only of those admitted. Throws Full,
  /// nothing changed.
  void make_room(const int64_t* keys, size_t n, bool all);
  void gather(const Group& group, float* out) const;
  /// First values for keys that are not rows.
  void fill_missing(Group& group);
  size_t evict_unlocked(const Eviction& eviction);
  void clear_unlocked();
  void load_unlocked(const Part& part);
  void load_unlocked(const Candidates& candidates);
  /// As many keys may wait for admission as there may be rows: beyond that, those not seen for longest are forgotten.
  void trim_candidates();
  size_t rows_unlocked() const;
  void each_group(const std::function<void(Group&)>& task);
  void forget_batch() { carried_ = false; }
  /// Calls visit(shard, key, hash, row, repeats) for the different keys of the batch.
  template <typename Visit>
  void each_different(Visit visit);
  template <typename Visit>
  void each_found(const int64_t* keys, size_t n, Visit visit);

  /// Training takes its turn in `lookup` and `apply`; the writer of a snapshot, on its own thread, takes short turns
  /// in between. Where both wait they alternate, so that neither is held up for long.
  class Turn {
   public:
    enum class For { training, snapshot };

    Turn(Table& table, For purpose = For::training) : table_(table) {
      std::unique_lock<std::mutex> lock(table.mutex_);
      size_t& mine = purpose == For::snapshot ? table.snapshot_waits_ : table.training_waits_;
      const size_t& others = purpose == For::snapshot ? table.training_waits_ : table.snapshot_waits_;
      ++mine;
      table.turn_.wait(lock, [&] { return !table.busy_ && (others == 0 || table.last_ != purpose); });
      --mine;
      table.last_ = purpose;
      table.busy_ = true;
    }
    ~Turn() {
      {
        std::lock_guard<std::mutex> lock(table_.mutex_);
        table_.busy_ = false;
      }
      table_.turn_.notify_all();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Table& table_;
  };

  TableOptions options_;
  const Kernels& kernels_;
  const OptimizerInfo& optimizer_;
  Layout layout_;
  Initializer initializer_;
  std::vector<float> first_slots_;
  uint32_t shard_mask_;
  Arena arena_, index_arena_;
  std::vector<std::unique_ptr<Shard>> shards_;
  Threads threads_;

  std::mutex mutex_;
  std::condition_variable turn_;
  bool busy_ = false;
  size_t training_waits_ = 0, snapshot_waits_ = 0;
  Turn::For last_ = Turn::For::training;

  // The last batch looked up for training: `apply` finds its rows here.
  Split split_;
  std::vector<Group> groups_;
  size_t used_groups_ = 0;
  Scratch<int64_t> last_keys_;
  size_t last_count_ = 0;
  bool carried_ = false;
  uint64_t carried_tickets_ = 0;  // snapshots taken when it was looked up

  Counters counters_;
  uint64_t ticket_ = 0;  // of the snapshot being taken; 0: none
  uint64_t tickets_ = 0;
  size_t taking_ = 0;  // the shard that it has come to
  bool in_flight_ = false;
};

}  // namespace tfplus
