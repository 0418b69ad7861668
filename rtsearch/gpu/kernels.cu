// The whole pass around the network, in the order in which the kernels run:
//
//   letterbox   picture -> planes of the network's input         as perception/detector.py
//   candidates  best class of every row, rows above threshold    as perception/detector.py
//   rank        the 300 best of them, in order                   as perception/detector.py
//   choose      suppression, boxes in picture pixels             as perception/detector.py
//   weigh       weights of the cells under every box             as perception/roi_pooling.py
//   pool        weighted means of the maps                       as perception/roi_pooling.py
//   describe    form, colour, class: one row per object          as perception/colour_histogram.py, descriptor.py
//   project     description @ matrix + offset                    as search/projection.py
//
// Every kernel takes the same two addresses: a Plan, which changes with the network or the buffers, and an
// Upload, which comes with the pictures: thresholds and sizes may change from call to call though the launches
// were recorded once. Launches cover the largest number of objects; threads without an object return at once.
//
// The same file is compiled as C++ for the tests, behind a header that stands in for what CUDA brings.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define MOST_MAPS 8
#define CANDIDATES 300  // boxes that enter suppression
#define WORDS 5         // of 64 bits, one bit per candidate
#define WARP 32
#define ALL 0xffffffffu

struct Map {  // one tap: (batch, channels, height, width)
    u64 cells;
    int channels, width, height, half;
};

struct Plan {
    u64 planes, boxes, scores;              // (batch, 3, height, width), (batch, rows, 4), (batch, rows, classes)
    u64 keys, labels, order;                // candidates: (batch, rows), (batch, rows), (batch, CANDIDATES)
    u64 counts;                             // (2, batch): candidates, objects; the first are 0 when a pass begins
    u64 boxes_chosen, rows_chosen;          // (batch, slots, 4) in input pixels, (batch, slots), -1 for a whole image
    u64 weights, spans, means;              // (batch, slots, cells), (batch, slots, maps, 4), (batch, slots, channels)
    u64 raw;                                // (batch, slots, raw_dim); unused without a projection
    u64 matrix, offset;                     // (raw_dim, dim), (dim,); 0 for no projection
    u64 result;                             // what is copied back: counts, then rows of box, score, label, vector
    Map maps[MOST_MAPS];
    int batch, width, height, rows, classes, map_count, slots, raw_dim, dim;
    int header;                             // bytes of the result before its rows
    int swap, pad_value, needs_nms, planes_half, boxes_half, scores_half;
    float pixel_scale;
    int unit_classes;                       // scale the classes of a description to unit length
};

struct Picture {
    u64 offset;  // of its first pixel from the start of the upload, bytes
    int width, height, fitted_width, fitted_height;
    float scale_x, scale_y, limit_x, limit_y;  // input pixels per picture pixel; its end in input pixels
};

struct Upload {  // followed by a byte per class, 0 for one that is not looked for, and by the pixels
    float threshold, max_overlap, nms_iou, min_px;
    int max_objects, whole_image, pictures;
    int wanted;      // of the first class from the start of the upload, bytes
    int overlap_iou;  // overlap is intersection over union, else the share of the weaker box
    int unused;
    Picture picture[1];  // one per picture
};

#ifdef __CUDACC__
__device__ float from_half(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ u16 to_half(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

template <class T>
__device__ T* at(u64 address) {
    return (T*)(address);
}

__device__ float value_at(u64 address, int half, u64 place) {
    return half ? from_half(at<const u16>(address)[place]) : at<const float>(address)[place];
}

__device__ bool is_finite(float x) { return fabsf(x) <= 3.402823466e38f; }

__device__ int limited(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

__device__ double limited(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

template <class T>
__device__ T warp_sum(T value) {
    for (int step = WARP / 2; step; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

// The part of a result row before its vector.
struct Row {
    float box[4], score;
    int label;
};

__device__ float* row_at(const Plan* plan, int picture, int slot) {
    u64 row_bytes = sizeof(Row) + (u64)plan->dim * sizeof(float);
    return at<float>(plan->result + plan->header + ((u64)picture * plan->slots + slot) * row_bytes);
}

__device__ int objects_of(const Plan* plan, int picture) { return at<int>(plan->counts)[plan->batch + picture]; }

// ---------------------------------------------------------------------------------------------- letterbox

// Bilinear resize in the fixed point of cv2.resize, which gives the same grey levels. One thread per pixel of the
// input; grid (x, y, picture).
struct Tap2 {
    int low, high, weight;  // the pixels left and right of a place, and the share of the right one in 1/2048
};

// Place (to + 1/2) * size / fitted - 1/2, in whole numbers: on most GPUs double is 1/64 as fast.
__device__ Tap2 taps_of(int to, int size, int fitted) {
    int place = (2 * to + 1) * size - fitted, unit = 2 * fitted;
    if (place < 0) return {0, 0, 0};
    int low = place / unit;
    if (low >= size - 1) return {size - 1, size - 1, 0};
    return {low, low + 1, (int)rintf((float)(place - low * unit) / unit * 2048)};
}

extern "C" __global__ void letterbox(const Plan* plan, const Upload* upload) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, p = blockIdx.z;
    if (x >= plan->width || y >= plan->height || p >= upload->pictures) return;
    const Picture picture = upload->picture[p];
    int grey[3] = {plan->pad_value, plan->pad_value, plan->pad_value};
    if (x < picture.fitted_width && y < picture.fitted_height) {
        Tap2 across = taps_of(x, picture.width, picture.fitted_width);
        Tap2 down = taps_of(y, picture.height, picture.fitted_height);
        const u8* pixels = (const u8*)upload + picture.offset;
        const u8* top = pixels + (u64)down.low * picture.width * 3;
        const u8* bottom = pixels + (u64)down.high * picture.width * 3;
        for (int c = 0; c < 3; c++) {
            int left = across.low * 3 + c, right = across.high * 3 + c;
            int above = top[left] * (2048 - across.weight) + top[right] * across.weight;
            int below = bottom[left] * (2048 - across.weight) + bottom[right] * across.weight;
            grey[c] = (((above >> 4) * (2048 - down.weight) >> 16) + ((below >> 4) * down.weight >> 16) + 2) >> 2;
        }
    }
    u64 area = (u64)plan->width * plan->height, place = (u64)p * 3 * area + (u64)y * plan->width + x;
    for (int c = 0; c < 3; c++) {
        float value = (float)(plan->swap ? grey[2 - c] : grey[c]) * plan->pixel_scale;
        if (plan->planes_half)
            at<u16>(plan->planes)[place + c * area] = to_half(value);
        else
            at<float>(plan->planes)[place + c * area] = value;
    }
}

// --------------------------------------------------------------------------------------------- candidates

// One warp per row; block (32, 8), grid (rows / 8, picture). Rows with a NaN among their scores are left out.
extern "C" __global__ void candidates(const Plan* plan, const Upload* upload) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, p = blockIdx.y;
    if (row >= plan->rows || p >= upload->pictures) return;
    u64 place = (u64)p * plan->rows + row;
    float best = -1;
    int label = plan->classes, broken = 0;
    for (int c = threadIdx.x; c < plan->classes; c += WARP) {
        float score = value_at(plan->scores, plan->scores_half, place * plan->classes + c);
        broken |= score != score;
        if (score > best) best = score, label = c;
    }
    for (int step = WARP / 2; step; step /= 2) {
        float other = __shfl_xor_sync(ALL, best, step);
        int its_label = __shfl_xor_sync(ALL, label, step);
        broken |= __shfl_xor_sync(ALL, broken, step);
        if (other > best || (other == best && its_label < label)) best = other, label = its_label;
    }
    if (threadIdx.x || broken || !(best >= upload->threshold)) return;
    if (!((const u8*)upload)[upload->wanted + label]) return;
    // Scores are positive here, so their bits sort like their values. Among equal scores the earlier row has
    // the greater key. All keys differ, so the order of the threads does not matter.
    u64 key = (u64)__float_as_uint(best + 0.0f) << 32 | (ALL - (u32)row);
    int behind = atomicAdd(at<int>(plan->counts) + p, 1);
    at<u64>(plan->keys)[(u64)p * plan->rows + behind] = key;
    at<int>(plan->labels)[place] = label;
}

// One thread per candidate counts the better candidates; grid (rows / 256, picture).
extern "C" __global__ void rank(const Plan* plan, const Upload* upload) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.y;
    if (p >= upload->pictures) return;
    int count = at<int>(plan->counts)[p];
    if (i >= count) return;
    const u64* keys = at<const u64>(plan->keys) + (u64)p * plan->rows;
    u64 key = keys[i];
    int better = 0;
    for (int j = 0; j < count; j++) better += keys[j] > key;
    if (better < CANDIDATES) at<int>(plan->order)[p * CANDIDATES + better] = (int)(ALL - (u32)key);
}

// ------------------------------------------------------------------------------------------------- choose

struct Box {
    float x1, y1, x2, y2;
};

__device__ Box clipped(const Box& box, float x_limit, float y_limit) {
    Box inside = {fminf(fmaxf(box.x1, 0), x_limit), fminf(fmaxf(box.y1, 0), y_limit),
                  fminf(fmaxf(box.x2, 0), x_limit), fminf(fmaxf(box.y2, 0), y_limit)};
    return inside;
}

// Returns whether cv2.dnn.NMSBoxes would drop box b because of box a. It compares boxes of one class only.
__device__ bool same_object(const Box& a, const Box& b, float limit) {
    if (fminf(a.x2, b.x2) <= fmaxf(a.x1, b.x1) || fminf(a.y2, b.y2) <= fmaxf(a.y1, b.y1)) return false;
    double aw = a.x2 - a.x1, ah = a.y2 - a.y1, bw = b.x2 - b.x1, bh = b.y2 - b.y1;
    double w = fmin(a.x1 + aw, b.x1 + bw) - fmax(a.x1, b.x1), h = fmin(a.y1 + ah, b.y1 + bh) - fmax(a.y1, b.y1);
    double both = w * h, distance = 1.0 - both / (aw * ah + bw * bh - both);
    return 1.0f - (float)distance > limit;
}

__device__ float area(const Box& box) { return (box.x2 - box.x1) * (box.y2 - box.y1); }

// Returns the intersection of two boxes as a share of their union or of box i.
__device__ float overlap(const Box& i, const Box& j, bool of_union) {
    float w = fminf(i.x2, j.x2) - fmaxf(i.x1, j.x1), h = fminf(i.y2, j.y2) - fmaxf(i.y1, j.y1);
    float both = fmaxf(w, 0) * fmaxf(h, 0);
    return both / fmaxf(of_union ? area(i) + area(j) - both : area(i), 1e-9f);
}

// Goes through the candidates by falling score: a candidate stays unless one that stays suppresses it.
__device__ void settle(u64* left, u64 (*against)[WORDS], int count) {
    u64 kept[WORDS] = {0, 0, 0, 0, 0};
    for (int i = 0; i < count; i++) {
        bool stays = left[i / 64] >> (i % 64) & 1;
        for (int w = 0; stays && w <= i / 64; w++) stays = !(against[i][w] & kept[w]);
        if (stays) kept[i / 64] |= 1ull << (i % 64);
    }
    for (int w = 0; w < WORDS; w++) left[w] = kept[w];
}

// One block per picture, one thread per candidate; block 320, grid (picture).
extern "C" __global__ void choose(const Plan* plan, const Upload* upload) {
    __shared__ Box boxes[CANDIDATES];
    __shared__ float scores[CANDIDATES];
    __shared__ int rows[CANDIDATES], labels[CANDIDATES];
    __shared__ u64 against[CANDIDATES][WORDS], left[WORDS];
    __shared__ u8 visible[CANDIDATES];
    int i = threadIdx.x, p = blockIdx.x;
    if (p >= upload->pictures) return;
    const Picture picture = upload->picture[p];
    int count = at<int>(plan->counts)[p] < CANDIDATES ? at<int>(plan->counts)[p] : CANDIDATES;

    if (i < count) {
        int row = at<int>(plan->order)[p * CANDIDATES + i];
        u64 place = (u64)p * plan->rows + row;
        float side[4];
        for (int k = 0; k < 4; k++) side[k] = value_at(plan->boxes, plan->boxes_half, place * 4 + k);
        Box box = {side[0], side[1], side[2], side[3]};
        rows[i] = row;
        labels[i] = at<int>(plan->labels)[place];
        scores[i] = value_at(plan->scores, plan->scores_half, place * plan->classes + labels[i]);
        Box inside = clipped(box, picture.limit_x, picture.limit_y);
        bool finite = is_finite(box.x1) && is_finite(box.y1) && is_finite(box.x2) && is_finite(box.y2);
        float least_x = fmaxf(1, upload->min_px * picture.scale_x);
        float least_y = fmaxf(1, upload->min_px * picture.scale_y);
        visible[i] = finite && inside.x2 - inside.x1 >= least_x && inside.y2 - inside.y1 >= least_y;
        if (plan->needs_nms) visible[i] = visible[i] && scores[i] > 0;  // as cv2.dnn.NMSBoxes
        boxes[i] = inside;
    }
    __syncthreads();
    if (i < WORDS) {
        left[i] = 0;
        for (int j = i * 64; j < (i + 1) * 64 && j < count; j++) left[i] |= (u64)visible[j] << (j % 64);
    }
    for (int step = plan->needs_nms ? 0 : 1; step < 2; step++) {
        if (i < count) {
            for (int w = 0; w < WORDS; w++) against[i][w] = 0;
            for (int j = 0; j < i; j++) {
                bool is = step ? overlap(boxes[i], boxes[j], upload->overlap_iou) > upload->max_overlap
                               : labels[i] == labels[j] && same_object(boxes[j], boxes[i], upload->nms_iou);
                if (is) against[i][j / 64] |= 1ull << (j % 64);
            }
        }
        __syncthreads();
        if (i == 0) settle(left, against, count);
        __syncthreads();
    }

    bool whole = upload->whole_image;
    int most = upload->max_objects < plan->slots - whole ? upload->max_objects : plan->slots - whole;
    int before = 0, all = 0;
    for (int w = 0; w < WORDS; w++) {
        u64 mine = w < i / 64 ? left[w] : w == i / 64 ? left[w] & ((1ull << (i % 64)) - 1) : 0;
        before += __popcll(mine);
        all += __popcll(left[w]);
    }
    bool chosen = i < count && before < most && (left[i / 64] >> (i % 64) & 1);
    if (chosen || (whole && i == CANDIDATES)) {
        Box box = {0, 0, picture.limit_x, picture.limit_y};
        if (chosen) box = boxes[i];
        int slot = chosen ? before + whole : 0;
        u64 place = (u64)p * plan->slots + slot;
        at<Box>(plan->boxes_chosen)[place] = box;
        at<int>(plan->rows_chosen)[place] = chosen ? rows[i] : -1;
        Row* row = (Row*)row_at(plan, p, slot);
        row->box[0] = box.x1 / picture.scale_x, row->box[1] = box.y1 / picture.scale_y;
        row->box[2] = box.x2 / picture.scale_x, row->box[3] = box.y2 / picture.scale_y;
        row->score = chosen ? scores[i] : 1;
        row->label = chosen ? labels[i] : -1;
    }
    if (i == 0) {
        int objects = (all < most ? all : most) + whole;
        at<int>(plan->counts)[plan->batch + p] = objects;
        at<int>(plan->result)[p] = objects;
    }
}

// -------------------------------------------------------------------------------------------- weigh, pool

// Computes the weights of the cells of every map along x and y. One warp per map and axis; block (32, 4), grid
// (slot, picture). Doubles keep boxes of half a cell exact.
extern "C" __global__ void weigh(const Plan* plan, const Upload* upload) {
    int slot = blockIdx.x, p = blockIdx.y;
    if (p >= upload->pictures || slot >= objects_of(plan, p)) return;
    u64 place = (u64)p * plan->slots + slot;
    const Box box = at<Box>(plan->boxes_chosen)[place];
    int cells_in_all = 0;
    for (int m = 0; m < plan->map_count; m++) cells_in_all += plan->maps[m].width + plan->maps[m].height;
    float* weights = at<float>(plan->weights) + place * cells_in_all;
    for (int task = threadIdx.y; task < 2 * plan->map_count; task += blockDim.y) {
        const Map& map = plan->maps[task / 2];
        int skipped = 0;
        for (int m = 0; m < task / 2; m++) skipped += plan->maps[m].width + plan->maps[m].height;
        bool down = task % 2;
        int cells = down ? map.height : map.width;
        double ratio = (double)cells / (down ? plan->height : plan->width);
        double start = limited((down ? box.y1 : box.x1) * ratio, 0.0, (double)cells);
        double end = limited((down ? box.y2 : box.x2) * ratio, 0.0, (double)cells);
        double middle = limited((start + end) / 2, 0.5, cells - 0.5), half = fmax((end - start) / 2, 0.5);
        int first = limited((int)floor(middle - half), 0, cells), past = limited((int)ceil(middle + half), 0, cells);
        float* own = weights + skipped + (down ? map.width : 0);
        double total = 0;
        for (int pass = 0; pass < 2; pass++) {
            double sum = 0;
            for (int cell = first + threadIdx.x; cell < past; cell += WARP) {
                double inside = fmax(fmin(middle + half, cell + 1.0) - fmax(middle - half, (double)cell), 0.0);
                double off = (cell + 0.5 - middle) / half / 0.5;  // the bell's sigma, in half sides
                double weight = inside * exp(-0.5 * off * off);
                sum += weight;
                if (pass) own[cell] = (float)(weight / total);
            }
            if (!pass) total = warp_sum(sum);
        }
        if (threadIdx.x == 0) {
            int* span = at<int>(plan->spans) + (place * plan->map_count + task / 2) * 4 + 2 * down;
            span[0] = first, span[1] = past;
        }
    }
}

template <class Cell>
__device__ float read_cell(const Cell* cells, u64 place);
template <>
__device__ float read_cell(const float* cells, u64 place) {
    return cells[place];
}
template <>
__device__ float read_cell(const u16* cells, u64 place) {
    return from_half(cells[place]);
}

// Returns this lane's part of the weighted sum over the cells of a box in one channel.
template <class Cell>
__device__ float lane_sum(const Cell* cells, const Map& map, const float* weights, const int* span) {
    int wide = span[1] - span[0], high = span[3] - span[2];
    int y = threadIdx.x / wide, x = threadIdx.x % wide;
    float sum = 0;
    while (y < high) {
        float weight = weights[map.width + span[2] + y] * weights[span[0] + x];
        sum += weight * read_cell(cells, (u64)(span[2] + y) * map.width + span[0] + x);
        y += WARP / wide, x += WARP % wide;
        if (x >= wide) x -= wide, y++;
    }
    return sum;
}

// One warp per channel; block (32, 8), grid (slot, channels / 8, picture).
extern "C" __global__ void pool(const Plan* plan, const Upload* upload) {
    int slot = blockIdx.x, channel = blockIdx.y * blockDim.y + threadIdx.y, p = blockIdx.z;
    if (p >= upload->pictures || slot >= objects_of(plan, p)) return;
    int m = 0, skipped = 0, channels_before = 0, cells_in_all = 0, channels_in_all = 0;
    for (int k = 0; k < plan->map_count; k++) {
        int cells = plan->maps[k].width + plan->maps[k].height, channels = plan->maps[k].channels;
        if (channel >= channels_in_all + channels) m = k + 1, skipped += cells, channels_before += channels;
        cells_in_all += cells, channels_in_all += channels;
    }
    if (channel >= channels_in_all) return;
    const Map map = plan->maps[m];
    u64 place = (u64)p * plan->slots + slot;
    u64 first = ((u64)p * map.channels + channel - channels_before) * map.width * map.height;
    const float* weights = at<float>(plan->weights) + place * cells_in_all + skipped;
    const int* span = at<int>(plan->spans) + (place * plan->map_count + m) * 4;
    float sum = map.half ? lane_sum(at<const u16>(map.cells) + first, map, weights, span)
                         : lane_sum(at<const float>(map.cells) + first, map, weights, span);
    sum = warp_sum(sum);
    if (threadIdx.x == 0) at<float>(plan->means)[place * channels_in_all + channel] = sum;
}

// ------------------------------------------------------------------------------------- describe, project

#define POINTS 48  // of a box, along each side
#define TILE 256   // points at a time, and threads of a block
#define BINS0 3    // brightness
#define BINS1 6    // red against green
#define BINS2 6    // blue against green
#define BINS (BINS0 * BINS1 * BINS2)
#define PAIRS (BINS1 * BINS2)
#define PARTS (TILE / PAIRS)
#define SHARES (BINS0 + BINS1 + BINS2)

// Splits a value between the two bins around its place on an axis.
__device__ void share_out(float value, double low, double high, int bins, float weight, float* shares) {
    float step = (float)(bins / (high - low)), place = value * step + (float)(-low * step - 0.5);
    float below = floorf(place), part = place - below;
    for (int bin = 0; bin < bins; bin++) shares[bin] = 0;
    shares[limited((int)below, 0, bins - 1)] += weight * (1 - part);
    shares[limited((int)below + 1, 0, bins - 1)] += weight * part;
}

// Returns the pixel under one of the evenly spread points between start and end.
__device__ int pixel_under(int point, float start, float end, int pixels) {
    double place = start + (double)(end - start) * ((point + 0.5) / POINTS);
    return (int)limited(floor(place), 0.0, pixels - 1.0);
}

// Computes the colour histogram of a box, of unit length. One thread looks up each point of a tile; then every
// thread sums a part of the points for three bins. Additions have a fixed order: with atomic
// additions the vector would differ from run to run.
__device__ void colour(const Picture& picture, const u8* pixels, const float* box, float* out) {
    __shared__ float logs[256], shares[TILE][SHARES], sums[PARTS][BINS0][PAIRS], roots[BINS], bell[POINTS], length;
    __shared__ int under[2][POINTS];  // columns and rows of the picture
    int t = threadIdx.x, pair = t % PAIRS, part = t / PAIRS;
    logs[t] = logf(t + 8.0f);
    if (t < POINTS) {
        float off = (t + 0.5f) / (POINTS / 2) - 1;
        bell[t] = expf(-0.5f * off * off / (0.4f * 0.4f));  // sigma, in half sides
        under[0][t] = pixel_under(t, box[0], box[2], picture.width);
        under[1][t] = pixel_under(t, box[1], box[3], picture.height);
    }
    float sum[BINS0] = {0, 0, 0};
    for (int first = 0; first < POINTS * POINTS; first += TILE) {
        __syncthreads();
        int row = (first + t) / POINTS, column = (first + t) % POINTS;
        const u8* pixel = pixels + ((u64)under[1][row] * picture.width + under[0][column]) * 3;
        float blue = logs[pixel[0]], green = logs[pixel[1]], red = logs[pixel[2]];
        share_out(blue + green + red, 6.0, 16.8, BINS0, bell[row] * bell[column], shares[t]);
        share_out(red - green, -1.2, 1.2, BINS1, 1, shares[t] + BINS0);
        share_out(blue - green, -1.6, 1.2, BINS2, 1, shares[t] + BINS0 + BINS1);
        __syncthreads();
        if (part >= PARTS) continue;
        for (int k = part; k < TILE; k += PARTS) {
            float both = shares[k][BINS0 + pair / BINS2] * shares[k][BINS0 + BINS1 + pair % BINS2];
            for (int bin = 0; bin < BINS0; bin++) sum[bin] += shares[k][bin] * both;
        }
    }
    for (int bin = 0; part < PARTS && bin < BINS0; bin++) sums[part][bin][pair] = sum[bin];
    __syncthreads();
    if (t < BINS) {
        float share = 0;
        for (int k = 0; k < PARTS; k++) share += sums[k][t / PAIRS][t % PAIRS];
        roots[t] = cbrtf(share);
    }
    __syncthreads();
    if (t == 0) {
        float squares = 0;
        for (int k = 0; k < BINS; k++) squares += roots[k] * roots[k];
        length = sqrtf(squares);
    }
    __syncthreads();
    if (t < BINS) out[t] = roots[t] / length;
}

// Copies numbers scaled to unit length, or zeros where one is NaN or infinite; all threads of a block take part.
__device__ void scale_to_unit(const float* from, float* to, int count) {
    __shared__ double sums[TILE];
    int t = threadIdx.x;
    double sum = 0;
    for (int c = t; c < count; c += TILE) sum += (double)from[c] * from[c];
    sums[t] = sum;
    __syncthreads();
    for (int step = TILE / 2; step; step /= 2) {
        if (t < step) sums[t] += sums[t + step];
        __syncthreads();
    }
    double length = fmax(sqrt(sums[0]), 1e-12);
    bool sound = sums[0] <= 1e300;
    for (int c = t; c < count; c += TILE) to[c] = sound ? (float)(from[c] / length) : 0;
    __syncthreads();
}

// One block per object; block 256, grid (slot, picture).
extern "C" __global__ void describe(const Plan* plan, const Upload* upload) {
    int slot = blockIdx.x, p = blockIdx.y, t = threadIdx.x;
    if (p >= upload->pictures || slot >= objects_of(plan, p)) return;
    u64 place = (u64)p * plan->slots + slot;
    float* row = row_at(plan, p, slot);
    float* out = plan->matrix ? at<float>(plan->raw) + place * plan->raw_dim : row + sizeof(Row) / sizeof(float);

    int channels_in_all = 0;
    for (int m = 0; m < plan->map_count; m++) channels_in_all += plan->maps[m].channels;
    const float* means = at<float>(plan->means) + place * channels_in_all;
    for (int m = 0; m < plan->map_count; m++) {
        int channels = plan->maps[m].channels;
        scale_to_unit(means, out, channels);
        means += channels, out += channels;
    }

    colour(upload->picture[p], (const u8*)upload + upload->picture[p].offset, row, out);
    out += BINS;

    int candidate = at<int>(plan->rows_chosen)[place];
    for (int c = t; c < plan->classes; c += TILE) {
        float score = 0;
        if (candidate >= 0) {
            score = value_at(plan->scores, plan->scores_half, ((u64)p * plan->rows + candidate) * plan->classes + c);
            score = sqrtf(fminf(fmaxf(score, 1e-6f), 1 - 1e-6f));
        }
        out[c] = score;
    }
    if (plan->unit_classes) scale_to_unit(out, out, plan->classes);  // each thread reads what it has written
}

// Eight threads sum one number of the vector; block (32, 8), grid (dim / 32, slot, picture).
extern "C" __global__ void project(const Plan* plan, const Upload* upload) {
    __shared__ float sums[8][WARP];
    int j = blockIdx.x * WARP + threadIdx.x, part = threadIdx.y, slot = blockIdx.y, p = blockIdx.z;
    if (p >= upload->pictures || slot >= objects_of(plan, p)) return;
    const float* raw = at<float>(plan->raw) + ((u64)p * plan->slots + slot) * plan->raw_dim;
    const float* matrix = at<float>(plan->matrix) + j;
    float sum = 0;
    for (int d = part; j < plan->dim && d < plan->raw_dim; d += 8) sum += raw[d] * matrix[(u64)d * plan->dim];
    sums[part][threadIdx.x] = sum;
    __syncthreads();
    if (part || j >= plan->dim) return;
    for (int k = 1; k < 8; k++) sum += sums[k][threadIdx.x];
    row_at(plan, p, slot)[sizeof(Row) / sizeof(float) + j] = sum + at<float>(plan->offset)[j];
}
