% Imports the network and compares it with PyTorch on the images of reference.mat.
%
% It needs the Deep Learning Toolbox and one of its free add-ons: "Deep Learning Toolbox Converter for ONNX Model
% Format", or "Deep Learning Toolbox Converter for PyTorch Models" if there is no ONNX file. R2024a or newer.
% The script was written from MATLAB's documentation and has not been run: the last line says whether it works.

reference = load("reference.mat");  % pixels: height x width x channel x image, from 0 to 1
classes = readlines("classes.txt", EmptyLineRule="skip");
pixels = dlarray(reference.pixels, "SSCB");
if isfile("@@name@@.onnx")
    net = importNetworkFromONNX("@@name@@.onnx", InputDataFormats="BCSS", OutputDataFormats="BC");
else
    net = importNetworkFromPyTorch("@@name@@.pt");
end
if ~net.Initialized
    net = initialize(net, pixels);
end
probabilities = extractdata(predict(net, pixels));
if size(probabilities, 1) == numel(classes)  % MATLAB puts the classes first
    probabilities = probabilities';
end
[~, best] = max(probabilities, [], 2);
disp(classes(best))
fprintf("largest difference to PyTorch: %g\n", max(abs(probabilities - reference.probabilities), [], "all"))
