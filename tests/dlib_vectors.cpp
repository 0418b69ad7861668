// Writes and reads vectors files as ReverseObjectSearchFast did, with dlib's own serialisation.
//
//   dlib_vectors write features|projected VALUES FILE     values as text -> file
//   dlib_vectors read  features|projected FILE VALUES     file -> values as text
//
// VALUES holds, separated by blanks: objects, width of a vector, rows of the projection; then vectors, boxes,
// scores, names, projection and means, each number with 17 digits.

#include <dlib/matrix.h>
#include <dlib/serialize.h>

#include <fstream>
#include <string>
#include <vector>

using std::string;
using std::vector;

struct Values {
    vector<vector<float>> encodings;
    vector<vector<double>> projected;
    vector<vector<float>> crops;
    vector<float> probabilities;
    vector<string> names;
    dlib::matrix<double> projection;
    vector<double> means;
};

template <typename T> vector<vector<T>> table(std::istream& in, size_t rows, size_t columns) {
    vector<vector<T>> found(rows, vector<T>(columns));
    for (auto& row : found)
        for (auto& value : row) in >> value;
    return found;
}

int main(int, char** arguments) {
    const bool writes = string(arguments[1]) == "write", features = string(arguments[2]) == "features";
    std::ifstream in(arguments[3], std::ios::binary);
    std::ofstream out(arguments[4], std::ios::binary);
    Values all;
    if (writes) {
        size_t n, width, axes;
        in >> n >> width >> axes;
        if (features) all.encodings = table<float>(in, n, width);
        else all.projected = table<double>(in, n, width);
        all.crops = table<float>(in, n, 4);
        all.probabilities = table<float>(in, 1, n)[0];
        all.names.resize(n);
        for (auto& name : all.names) in >> name;
        if (!features) {
            all.projection.set_size(axes, width);
            for (auto& value : all.projection) in >> value;
            all.means = table<double>(in, 1, axes)[0];
        }
        if (!in) return 1;
        if (features) dlib::serialize(all.encodings, out);
        dlib::serialize(all.projected, out);
        dlib::serialize(all.crops, out);
        dlib::serialize(all.probabilities, out);
        dlib::serialize(all.names, out);
        if (!features) {
            dlib::serialize(all.projection, out);
            dlib::serialize(all.means, out);
        }
        return out ? 0 : 1;
    }
    if (features) dlib::deserialize(all.encodings, in);
    dlib::deserialize(all.projected, in);
    dlib::deserialize(all.crops, in);
    dlib::deserialize(all.probabilities, in);
    dlib::deserialize(all.names, in);
    if (!features) {
        dlib::deserialize(all.projection, in);
        dlib::deserialize(all.means, in);
    }
    out.precision(17);
    for (const auto& row : all.encodings)
        for (auto value : row) out << value << ' ';
    for (const auto& row : all.projected)
        for (auto value : row) out << value << ' ';
    for (const auto& row : all.crops)
        for (auto value : row) out << value << ' ';
    for (auto value : all.probabilities) out << value << ' ';
    for (const auto& name : all.names) out << name << ' ';
    for (auto value : all.projection) out << value << ' ';
    for (auto value : all.means) out << value << ' ';
    return out ? 0 : 1;
}
